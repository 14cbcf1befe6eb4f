//! The web UI: its files, and the pages in a browser.

mod door;
mod in_browser;

use std::path::Path;

#[test]
fn vendored_files_are_unmodified() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ui/vendor");
    let sums = std::fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    let listed: Vec<_> =
        sums.lines().map(|line| line.split_once("  ").expect("a sum and a name").1).collect();
    let mut found: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        // Type declarations are ours: they name the packages that the files come from.
        .filter(|name| name != "SHA256SUMS" && name != "README.md" && !name.ends_with(".d.ts"))
        .collect();
    found.sort();
    let mut expected = listed.clone();
    expected.sort_unstable();
    assert_eq!(found, expected, "each file has its sum");
    let output = std::process::Command::new("sha256sum")
        .args(["--check", "--quiet", "SHA256SUMS"])
        .current_dir(&folder)
        .output();
    let output = output.expect("sha256sum runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    for name in listed.iter().filter(|name| name.ends_with(".js")) {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        assert!(!text.contains("from\"preact") && !text.contains("from\"@"), "{name} has a bare import");
    }
}
