//! The page of options says what the tables of options say.

use std::fmt::Write as _;
use std::path::Path;

use isotherm_workload::{Kind, OptionRow, options, refused};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/OPTIONS.md");
const BEGIN: &str = "<!-- from here on written by the test, see the last line -->\n";
const END: &str = "<!-- OPTIONS=write cargo nextest run -p isotherm-workload --test docs -->\n";

fn names(row: &OptionRow) -> String {
    match row.alias {
        Some(alias) => format!("`{}`, `{alias}`", row.name),
        None => format!("`{}`", row.name),
    }
}

fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn tables() -> String {
    let mut out = String::from("## What works\n\n| option | what it does |\n|---|---|\n");
    for row in options().filter(|row| row.without_effect().is_none()) {
        let words = match row.kind {
            Kind::Word(words) | Kind::Pattern(words) => {
                let words: Vec<String> = words.iter().map(|(w, _)| format!("`{w}`")).collect();
                format!(": {}", words.join(" "))
            }
            Kind::Own(_, shape) => format!(": {shape}"),
            _ => String::new(),
        };
        writeln!(out, "| {} | {}{} |", names(row), cell(row.help), cell(&words)).unwrap();
    }
    out.push_str(
        "\n## What is accepted and has no effect\n\nEach leaves a note in `messages[]`.\n",
    );
    out.push_str("\n| option | why |\n|---|---|\n");
    for row in options() {
        if let Some(why) = row.without_effect() {
            writeln!(out, "| {} | {} |", names(row), cell(why)).unwrap();
        }
    }
    out.push_str("\n## What is refused for a reason\n\n| option | why |\n|---|---|\n");
    for (name, why) in refused() {
        writeln!(out, "| `{name}` | {} |", cell(why)).unwrap();
    }
    out
}

#[test]
fn the_page_of_options_is_that_of_the_tables() {
    if !Path::new(PAGE).exists() {
        println!("skipped: this is not a clone of the whole repository");
        return;
    }
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page says where the tables begin");
    let (written, after) = rest.split_once(END).expect("and where they end");
    let expected = format!("\n{}\n", tables());
    if std::env::var("OPTIONS").is_ok_and(|value| value == "write") {
        std::fs::write(PAGE, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert!(
        written == expected,
        "an option was added or changed: OPTIONS=write cargo nextest run -p isotherm-workload \
         --test docs"
    );
}
