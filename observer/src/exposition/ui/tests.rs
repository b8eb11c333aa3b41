use std::collections::BTreeSet;

use regex::Regex;

use super::*;

fn text(name: &str) -> &'static str {
    let file = FILES.iter().find(|file| file.name == name).unwrap();
    std::str::from_utf8(file.plain).unwrap()
}

/// The files that the page itself or one of our own scripts names.
fn named() -> BTreeSet<&'static str> {
    let address = Regex::new(r##"(?:href|src)="([^"#]+)"|from '\./([^']+)'"##).unwrap();
    let own = FILES.iter().filter(|file| !file.name.starts_with("uplot"));
    own.flat_map(|file| address.captures_iter(text(file.name)))
        .filter_map(|found| found.get(1).or(found.get(2)))
        .map(|name| name.as_str())
        .collect()
}

#[test]
fn the_page_names_just_its_own_files_and_all_of_them() {
    let all: BTreeSet<&str> = FILES.iter().map(|file| file.name).filter(|name| !name.is_empty()).collect();
    assert_eq!(named(), all);
}

#[test]
fn nothing_of_the_page_runs_or_styles_inline_or_makes_markup_of_text() {
    let html = text("");
    for forbidden in [" style=", "<style", " onclick", " onload", "javascript:", "<script>"] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    for file in FILES.iter().filter(|file| file.kind == SCRIPT) {
        for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
            assert!(!text(file.name).contains(forbidden), "{forbidden} in {}", file.name);
        }
    }
}

#[test]
fn nothing_of_the_page_asks_another_host_or_sends_anything_but_reads() {
    for file in FILES.iter().filter(|file| !file.name.starts_with("uplot") && file.kind != "image/svg+xml") {
        let text = text(file.name);
        for forbidden in ["http://", "https://", "\"//", "'//", "method:", "sendBeacon", "XMLHttpRequest", "WebSocket"]
        {
            assert!(!text.contains(forbidden), "{forbidden} in {}", file.name);
        }
    }
    let asking: Vec<&str> =
        FILES.iter().filter(|file| text(file.name).contains("fetch(")).map(|file| file.name).collect();
    assert_eq!(asking, ["app.js"]);
}

#[test]
fn the_library_comes_with_its_licence() {
    assert!(text("uplot.js").starts_with("/*! https://github.com/leeoniya/uPlot (v1.6.32) */"));
    assert!(text("uplot-license.txt").starts_with("The MIT License (MIT)\n"));
}
