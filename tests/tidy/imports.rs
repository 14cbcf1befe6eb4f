//! Imports between files, read as text, and the cycles among them.
//!
//! A file *imports* another one when it names an item of it: in a `use`, or by a path in its code that begins with
//! `crate::`, `super::`, `self::` or the name of a module that it declares. The item counts where it is declared: a path
//! to a re-export leads to the file that it re-exports. Three things are no import: a re-export (`pub use`) itself, unit tests,
//! and an item of a module that encloses the file (`use super::Limit` in `store/sqlite.rs`): a parent declares what its
//! children share, and the children are parts of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The files of a crate by their module paths: the root is the empty path.
#[derive(Default)]
pub struct Crate {
    files: BTreeMap<Vec<String>, File>,
}

struct File {
    path: String,
    code: String,
    uses: Vec<Use>,
}

/// One item of a `use`, from the file's module on.
struct Use {
    path: Vec<String>,
    /// The name in the file; `*` for all of a module.
    name: String,
    is_public: bool,
}

impl Crate {
    /// Reads a crate's files, each given by its path and its text; `root` is the folder of `lib.rs`.
    pub fn new<'a>(root: &str, files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut read = Self::default();
        for (path, text) in files {
            let below = path.strip_prefix(root).unwrap().trim_start_matches('/');
            let Some(module) = module_of(below) else { continue };
            let (uses, code) = split(text);
            read.files.insert(module, File { path: path.to_owned(), code, uses });
        }
        read
    }

    /// Which files each file imports.
    pub fn imports(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (module, file) in &self.files {
            let private =
                file.uses.iter().filter(|import| !import.is_public).map(|import| import.path.clone());
            let targets = private.chain(self.paths_in(module, &file.code));
            let targets = targets.filter_map(|path| self.resolve(module, &path, 0));
            let others = targets.filter(|target| !module.starts_with(target));
            let names = others.map(|target| self.files[&target].path.clone());
            imports.entry(file.path.clone()).or_default().extend(names);
        }
        imports
    }

    /// The module that declares what a path names, as seen from a module; `None` for what is not of this crate.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<Vec<String>> {
        let mut at = from.to_vec();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => drop(at.pop()),
            child if self.is_module(from, child) => at.push(child.to_owned()),
            // Something that the file has imported by that name, or another crate.
            name => {
                let import = self.files.get(from)?.uses.iter().find(|import| import.name == name)?;
                let is_itself = import.path == path || depth > 16;
                return if is_itself { None } else { self.resolve(from, &import.path, depth + 1) };
            }
        }
        rest = &rest[1..];
        while let Some(next) = rest.first() {
            if next == "super" {
                at.pop();
            } else if self.is_module(&at, next) {
                at.push(next.clone());
            } else {
                break;
            }
            rest = &rest[1..];
        }
        let Some(item) = rest.first() else { return self.files.contains_key(&at).then_some(at) };
        let file = self.files.get(&at)?;
        let behind = |import: &Use| {
            let mut path = import.path.clone();
            if import.name == "*" {
                path.pop();
                path.push(item.clone());
            }
            (depth < 16).then(|| self.resolve(&at, &path, depth + 1)).flatten()
        };
        let named = file.uses.iter().filter(|import| import.is_public && import.name == *item);
        let globs = file.uses.iter().filter(|import| import.name == "*" && import.is_public);
        let found = named.chain(globs.filter(|_| !declares(&file.code, item))).find_map(behind);
        Some(found.unwrap_or(at))
    }

    fn is_module(&self, parent: &[String], name: &str) -> bool {
        let mut path = parent.to_vec();
        path.push(name.to_owned());
        self.files.contains_key(&path)
    }

    /// The paths in the code of a module.
    fn paths_in(&self, module: &[String], code: &str) -> Vec<Vec<String>> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let mut paths = Vec::new();
        for line in code.lines() {
            let mut rest = line;
            while let Some(start) = rest.find(is_word) {
                let before = rest[..start].chars().next_back();
                let word = &rest[start..];
                let word = &word[..word.find(|c| !is_word(c)).unwrap_or(word.len())];
                rest = &rest[start + word.len()..];
                let path: Vec<String> = word.trim_end_matches(':').split("::").map(str::to_owned).collect();
                let begins =
                    ["crate", "super"].contains(&path[0].as_str()) || self.is_module(module, &path[0]);
                if before != Some('.') && path.len() > 1 && begins {
                    paths.push(path);
                }
            }
        }
        paths
    }
}

/// The module that a file is; `None` for a program's root and for unit tests in a file of their own.
fn module_of(below: &str) -> Option<Vec<String>> {
    let path = below.strip_suffix(".rs")?;
    let mut words: Vec<String> = path.split('/').map(str::to_owned).collect();
    if words.last().is_some_and(|last| last == "mod") || path == "lib" {
        words.pop();
    }
    (path != "main" && words.last().is_none_or(|last| last != "tests")).then_some(words)
}

/// The `use` declarations of a file, and the rest of its code: without comments, texts and unit tests at its end. It
/// goes by lines, as rustfmt sets them.
fn split(text: &str) -> (Vec<Use>, String) {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let (mut uses, mut code) = (Vec::new(), String::new());
    let mut lines = text[..end].lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    while let Some(line) = lines.next() {
        match declaration(line) {
            Some((is_public, tree)) => {
                let mut tree = tree.to_owned();
                while !tree.contains(';') {
                    tree.push_str(lines.next().expect("a `use` ends with a semicolon"));
                }
                let tree = tree.split(';').next().unwrap();
                expand(&mut Vec::new(), tree, &mut |path, name| uses.push(Use { path, name, is_public }));
            }
            None => {
                let line = line.split(" // ").next().unwrap();
                code.extend(line.split('"').step_by(2).chain(["\n"]));
            }
        }
    }
    (uses, code)
}

/// The tree of a `use` declaration, and whether it is public.
fn declaration(line: &str) -> Option<(bool, &str)> {
    let Some(rest) = line.strip_prefix("pub") else { return Some((false, line.strip_prefix("use ")?)) };
    let rest = match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(')')?.1,
        None => rest,
    };
    Some((true, rest.strip_prefix(" use ")?))
}

/// The items of a tree, each with its whole path and its name.
fn expand(prefix: &mut Vec<String>, tree: &str, each: &mut impl FnMut(Vec<String>, String)) {
    let tree = tree.trim();
    let length = prefix.len();
    if let Some(group) = tree.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let mut depth = 0;
        let parts = group.split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        });
        parts.filter(|part| !part.trim().is_empty()).for_each(|part| expand(prefix, part, each));
    } else if let Some((first, rest)) = tree.split_once("::") {
        prefix.push(first.to_owned());
        expand(prefix, rest, each);
    } else {
        let (item, name) = tree.split_once(" as ").unwrap_or((tree, tree));
        if item != "self" {
            prefix.push(item.to_owned());
        }
        let name = if name == "self" { prefix.last().unwrap().clone() } else { name.to_owned() };
        each(prefix.clone(), name);
    }
    prefix.truncate(length);
}

/// Whether code declares an item of this name.
fn declares(code: &str, item: &str) -> bool {
    code.lines().any(|line| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        let is_keyword = |word: &str| {
            ["struct", "enum", "trait", "type", "fn", "const", "static", "union"].contains(&word)
        };
        words.by_ref().take(4).any(is_keyword) && words.next() == Some(item)
    })
}

/// The cycles of a graph, each as a path from the first of its files back to it: for each file that can be reached from
/// itself the shortest way, but only ways through files that no cycle before has.
pub fn cycles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for start in imports.keys() {
        if seen.contains(start) {
            continue;
        }
        let mut came_from: BTreeMap<&String, &String> = BTreeMap::new();
        let mut next = VecDeque::from([start]);
        while let Some(file) = next.pop_front() {
            for target in imports.get(file).into_iter().flatten() {
                if !came_from.contains_key(target) {
                    came_from.insert(target, file);
                    next.push_back(target);
                }
            }
        }
        if !came_from.contains_key(start) {
            continue;
        }
        let mut path = vec![start.clone()];
        let mut at = start;
        loop {
            at = came_from[at];
            path.push(at.clone());
            seen.insert(at.clone());
            if at == start {
                break;
            }
        }
        path.reverse();
        found.push(path);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        cycles(&Crate::new("src", files.iter().copied()).imports())
    }

    #[test]
    fn a_cycle_is_found_through_uses_paths_and_re_exports() {
        let direct = [("src/a.rs", "use crate::b::{B, C};"), ("src/b.rs", "fn f() { crate::a::g(); }")];
        assert_eq!(found(&direct), [["src/a.rs", "src/b.rs", "src/a.rs"]]);
        let behind = [
            ("src/lib.rs", "mod a;\nmod b;"),
            ("src/a/mod.rs", "mod x;\nmod y;\npub use x::X;"),
            ("src/a/x.rs", "use super::y::Y;\npub struct X;"),
            ("src/a/y.rs", "use crate::a::X;\npub struct Y;"),
        ];
        assert_eq!(found(&behind), [["src/a/x.rs", "src/a/y.rs", "src/a/x.rs"]]);
        let by_alias =
            [("src/a.rs", "use crate::b;\nfn f() { b::g(); }"), ("src/b.rs", "use super::a as z;")];
        assert_eq!(found(&by_alias).len(), 1);
        let nested = [
            ("src/a.rs", "use crate::{b::{self, c::C}, d};"),
            ("src/b/mod.rs", ""),
            ("src/b/c.rs", "use crate::a::A;"),
        ];
        assert_eq!(found(&nested), [["src/a.rs", "src/b/c.rs", "src/a.rs"]]);
    }

    #[test]
    fn a_parent_and_its_children_are_no_cycle_but_lead_to_one_outside() {
        let family = [
            ("src/a.rs", "mod x;\nuse x::X;\npub struct A;"),
            ("src/a/x.rs", "use super::A;\npub struct X;"),
        ];
        assert_eq!(found(&family), [] as [Vec<String>; 0]);
        let outside =
            [family[0], ("src/a/x.rs", "use crate::b::B;\npub struct X;"), ("src/b.rs", "use crate::a::A;")];
        assert_eq!(found(&outside), [["src/a.rs", "src/a/x.rs", "src/b.rs", "src/a.rs"]]);
    }

    #[test]
    fn comments_texts_and_unit_tests_import_nothing() {
        let files = [
            ("src/a.rs", "//! See crate::b::B.\nfn f() { print(\"crate::b::B\"); } // crate::b::B\n"),
            ("src/b.rs", "use crate::a::f;\n"),
            ("src/c.rs", "use crate::d::D;\n#[cfg(test)]\nmod tests {\n use crate::e::E;\n}"),
            ("src/d.rs", ""),
            ("src/e.rs", "use crate::c::C;"),
        ];
        assert_eq!(found(&files), [] as [Vec<String>; 0]);
    }
}
