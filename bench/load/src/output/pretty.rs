//! JSON as fio lays it out: `"key" : value`, two blanks a level, six decimals.
//!
//! What must always hold: it parses to the value that it was made of, floats to six decimals.
//! Scripts grep fio's JSON by its blanks and decimals. Lists of numbers, which fio has few of,
//! stand on one line, and so does each disk of `per_disk`, of which there may be thousands.

use std::fmt::Write as _;

use serde_json::Value;

/// A document with its last newline.
pub fn to_text(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out.push('\n');
    out
}

fn write(out: &mut String, value: &Value, level: usize) {
    match value {
        Value::Object(map) if map.is_empty() => out.push_str("{\n}"),
        Value::Object(map) => {
            out.push_str("{\n");
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push_str(",\n");
                }
                indent(out, level + 1);
                let _ = write!(out, "{} : ", Value::from(key.as_str()));
                match value {
                    Value::Array(rows) if key == "per_disk" && level == 0 => write_rows(out, rows),
                    _ => write(out, value, level + 1),
                }
            }
            out.push('\n');
            indent(out, level);
            out.push('}');
        }
        Value::Array(values) if values.iter().any(Value::is_object) => {
            out.push_str("[\n");
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push_str(",\n");
                }
                indent(out, level + 1);
                write(out, value, level + 1);
            }
            out.push('\n');
            indent(out, level);
            out.push(']');
        }
        Value::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(out, value, level);
            }
            out.push(']');
        }
        Value::Number(number) if number.is_f64() => {
            let _ = write!(out, "{:.6}", number.as_f64().unwrap_or(0.0));
        }
        plain => {
            let _ = write!(out, "{plain}");
        }
    }
}

/// Each on its line.
fn write_rows(out: &mut String, rows: &[Value]) {
    out.push('[');
    for (index, row) in rows.iter().enumerate() {
        out.push_str(if index > 0 { ",\n    " } else { "\n    " });
        let _ = write!(out, "{row}");
    }
    out.push_str(if rows.is_empty() { "]" } else { "\n  ]" });
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n("  ", level));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_looks_like_fios_and_parses_back() {
        let value = json!({
            "per_disk": [{"x": 0.5, "y": [1]}, {}],
            "a": 1, "b": {"c": 0.5, "d": {}}, "e": [{"f": "x\"y"}], "g": [1, [2, 3]], "h": []
        });
        let text = to_text(&value);
        assert_eq!(
            text,
            "{\n  \"per_disk\" : [\n    {\"x\":0.5,\"y\":[1]},\n    {}\n  ],\n  \"a\" : 1,\n  \"b\" : {\n    \"c\" : 0.500000,\n    \"d\" : {\n}\n  },\n  \
             \"e\" : [\n    {\n      \"f\" : \"x\\\"y\"\n    }\n  ],\n  \"g\" : [1,[2,3]],\n  \
             \"h\" : []\n}\n"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
