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
        .filter(|name| name != "SHA256SUMS" && name != "README.md")
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

#[test]
fn ui_files_hold_one_documented_concept() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ui")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("vendor") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "js") {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(text.starts_with("// "), "{} begins with a line on what it is", path.display());
                assert!(text.lines().count() < 600, "{} holds two concepts", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 20);
}
