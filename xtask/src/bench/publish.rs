//! The newest table in README.md, and the picture beside the documentation.

use std::fs;

use anyhow::{Context, Result};

use crate::project::Project;
use crate::step;

const README: &str = "README.md";
const PICTURE: &str = "docs/bench.svg";

/// Between these lines of README.md the table stands.
const BEGIN: &str = "<!-- The table: cargo xtask bench --publish -->\n";
const END: &str = "<!-- The end of the table -->\n";

/// Puts the table and the machine that it comes from into README.md, and the picture into its file.
pub fn publish(project: &Project, machine: &str, table: &str, picture: Option<&str>) -> Result<()> {
    let readme = project.root.join(README);
    let text = fs::read_to_string(&readme).with_context(|| format!("cannot read {}", readme.display()))?;
    let text = with_table(&text, machine, table, picture.is_some())?;
    fs::write(&readme, text).with_context(|| format!("cannot write {}", readme.display()))?;
    if let Some(picture) = picture {
        let file = project.root.join(PICTURE);
        fs::write(&file, picture).with_context(|| format!("cannot write {}", file.display()))?;
    }
    step(&format!("bench: the table is in {}", readme.display()));
    Ok(())
}

fn with_table(readme: &str, machine: &str, table: &str, has_picture: bool) -> Result<String> {
    let parts = readme.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, behind) = parts.with_context(|| format!("{README} lacks `{}` or `{}`", BEGIN.trim(), END.trim()))?;
    let picture = if has_picture { format!("\n![CPU per request by stage]({PICTURE})\n") } else { String::new() };
    Ok(format!("{before}{BEGIN}\nMeasured on: {machine}.\n\n{table}{picture}\n{END}{behind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_takes_the_place_of_the_one_before() {
        let readme = format!("# observer\n\n{BEGIN}old\n{END}\nmore\n");
        let once = with_table(&readme, "2 x CPU", "| a |\n", true).unwrap();
        assert!(once.starts_with("# observer\n\n") && once.ends_with(&format!("{END}\nmore\n")), "{once}");
        assert!(once.contains("Measured on: 2 x CPU.\n\n| a |\n\n![") && !once.contains("old"), "{once}");
        let twice = with_table(&once, "2 x CPU", "| b |\n", false).unwrap();
        assert!(twice.contains("| b |\n\n<!--") && !twice.contains("| a |") && !twice.contains("!["), "{twice}");
    }

    #[test]
    fn without_its_place_the_table_goes_nowhere() {
        let error = with_table("# observer\n", "m", "t", false).unwrap_err().to_string();
        assert!(error.contains("README.md") && error.contains("cargo xtask bench --publish"), "{error}");
    }

    #[test]
    fn the_project_has_a_place_for_the_table() {
        let readme = include_str!("../../../README.md");
        assert!(with_table(readme, "m", "t\n", true).is_ok());
    }
}
