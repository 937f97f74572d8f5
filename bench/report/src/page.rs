//! The page: tables made here, documents and scripts beside them.
//!
//! What must always hold: the page is one file and names no other; what stands in a document
//! can't end the script element that holds it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::ReportError;
use crate::compare::compare;
use crate::outliers::outliers;
use crate::table::{self, escape};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Makes the page of some documents, each with what it is called. The first two are compared.
pub fn page(documents: &[(String, Value)]) -> Result<String, ReportError> {
    if documents.is_empty() {
        return Err(ReportError::NoDocument);
    }
    let names: Vec<&str> = documents.iter().map(|(name, _)| name.as_str()).collect();
    let mut body = String::new();
    // Writing to a string can't fail.
    let _ = write!(body, "<h1>{}</h1>", escape(&names.join(" against ")));
    body.push_str(&what_ran(documents));
    if let [(_, a), (_, b), ..] = documents {
        let rows = compare(a, b);
        let _ = write!(
            body,
            "<section id=\"comparison\"><h2>Comparison</h2><p>A is {}, B is {}. The interval is \
             made by drawing stretches of time, or repeated runs where there are any, again and \
             again from what was measured: 95 of 100 such intervals hold the true ratio. Of one \
             run each it knows nothing of how runs differ from day to day; repeat both \
             (<code>--repeat</code>) for that.</p>{}</section>",
            escape(names[0]),
            escape(names[1]),
            table::comparison(&rows)
        );
    }
    let _ = write!(
        body,
        "<section id=\"results\"><h2>Results</h2>{}<details open><summary>What the numbers say\
         </summary>{}</details></section>",
        table::results(documents),
        table::sentences()
    );
    body.push_str(
        "<section id=\"charts\"><noscript><p>The charts need scripts; the tables do not.</p>\
         </noscript></section>",
    );
    let mut found = Vec::new();
    for (number, (name, document)) in documents.iter().enumerate() {
        let slow = outliers(document);
        if let Some(table) = table::disks(number, document, &slow) {
            let _ = write!(body, "<section class=\"disks\"><h2>Disks of {}</h2>", escape(name));
            body.push_str(&named(&slow));
            let _ = write!(
                body,
                "<div class=\"band\" data-document=\"{number}\"></div>{table}</section>"
            );
        }
        let of = |one: &crate::Outlier| json!({"index": one.index, "name": one.name, "direction": one.direction});
        found.push(slow.iter().map(of).collect::<Vec<_>>());
    }
    for (number, (name, document)) in documents.iter().enumerate() {
        let _ = write!(
            body,
            "<script type=\"application/json\" class=\"document\" id=\"document-{number}\" \
             data-name=\"{}\">{}</script>",
            escape(name),
            inert(document)
        );
    }
    let _ = write!(
        body,
        "<script type=\"application/json\" id=\"outliers\">{}</script>",
        inert(&Value::from(found))
    );
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <style>{STYLE}</style></head>\n<body>{body}\n<script>{SCRIPT}</script></body></html>\n",
        escape(&names.join(" against "))
    ))
}

/// When, with what, and what was said about it.
fn what_ran(documents: &[(String, Value)]) -> String {
    let mut out = String::from("<ul class=\"ran\">");
    for (name, document) in documents {
        let text = |key: &str| escape(document[key].as_str().unwrap_or("?"));
        let _ =
            write!(out, "<li><b>{}</b>: {}, {}", escape(name), text("time"), text("fio version"));
        for job in document["jobs"].as_array().into_iter().flatten().take(8) {
            let options = job["job options"].as_object();
            let options: Vec<String> = options
                .into_iter()
                .flatten()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("?")))
                .collect();
            let _ = write!(out, "<br><code>{}</code>", escape(&options.join(" ")));
        }
        for message in document["messages"].as_array().into_iter().flatten() {
            let _ = write!(out, "<br>{}", escape(message.as_str().unwrap_or("?")));
        }
        out.push_str("</li>");
    }
    out.push_str("</ul>");
    out
}

fn named(slow: &[crate::Outlier]) -> String {
    if slow.is_empty() {
        return "<p>No disk is far from the others. The grey band holds 8 of 10 disks.</p>".into();
    }
    let each: Vec<String> = slow
        .iter()
        .map(|one| {
            format!(
                "<b>{}</b> (number {}, {}): p99 is {:.1} times that of its peers, z {:.0}",
                escape(&one.name),
                one.index,
                one.direction,
                one.times,
                one.z
            )
        })
        .collect();
    format!(
        "<p>Far from the others, worst first: {}. The grey band holds 8 of 10 disks.</p>",
        each.join("; ")
    )
}

/// JSON that can't end the element that it stands in.
fn inert(value: &Value) -> String {
    // Only strings hold it, and there it may be written so.
    value.to_string().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_stays_text() {
        let evil = "</script><script>alert(1)</script>";
        let document = json!({
            "jobs": [{"jobname": evil, "read": {"total_ios": 1, "iops": 1.0}}], "messages": [evil]
        });
        let html = page(&[(evil.to_owned(), document.clone())]).unwrap();
        assert!(!html.contains("<script>alert"));
        let from = html.find("id=\"document-0\"").unwrap();
        let from = from + html[from..].find('>').unwrap() + 1;
        let to = from + html[from..].find("</script>").unwrap();
        assert_eq!(serde_json::from_str::<Value>(&html[from..to]).unwrap(), document);
    }

    #[test]
    fn the_page_names_no_other_file() {
        let document = json!({"jobs": []});
        let html = page(&[("a".into(), document.clone()), ("b".into(), document)]).unwrap();
        for word in ["src=", "@import", "fetch(", "XMLHttp", "url("] {
            assert!(!html.contains(word), "{word}");
        }
        let links = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!links.contains("http://") && !links.contains("https://"));
        assert!(matches!(page(&[]), Err(ReportError::NoDocument)));
    }
}
