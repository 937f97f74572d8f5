//! Sums in job files: `10*$pagesize`, `(4k+512)`.
//!
//! What must always hold: whole numbers only, a division drops the rest, as `bc` does, whose
//! part this is; what overflows, divides by nothing or has something left over is no sum.
//! Sums nest at most [`DEPTH_MAX`] deep, so no input can exhaust the stack.

/// Parentheses within parentheses, and signs and powers in a row, that a sum may have.
const DEPTH_MAX: u32 = 64;

/// The value of a sum, whose numbers `leaf` reads, suffixes included.
pub(crate) fn evaluate(text: &str, leaf: &dyn Fn(&str) -> Option<u64>) -> Option<i128> {
    let mut reader = Reader { rest: text.trim_start(), leaf };
    let value = reader.sum(0)?;
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    /// Begins with no blank.
    rest: &'a str,
    leaf: &'a dyn Fn(&str) -> Option<u64>,
}

impl Reader<'_> {
    fn sum(&mut self, depth: u32) -> Option<i128> {
        let mut value = self.product(depth)?;
        loop {
            value = match self.take_one_of("+-") {
                Some('+') => value.checked_add(self.product(depth)?)?,
                Some(_) => value.checked_sub(self.product(depth)?)?,
                None => return Some(value),
            };
        }
    }

    fn product(&mut self, depth: u32) -> Option<i128> {
        let mut value = self.power(depth)?;
        loop {
            value = match self.take_one_of("*/%") {
                Some('*') => value.checked_mul(self.power(depth)?)?,
                Some('/') => value.checked_div(self.power(depth)?)?,
                Some(_) => value.checked_rem(self.power(depth)?)?,
                None => return Some(value),
            };
        }
    }

    fn power(&mut self, depth: u32) -> Option<i128> {
        let base = self.atom(depth)?;
        if self.take_one_of("^").is_none() {
            return Some(base);
        }
        // 2^3^2 is 2^9: a power binds to the right.
        let exponent = if depth < DEPTH_MAX { self.power(depth + 1)? } else { return None };
        base.checked_pow(u32::try_from(exponent).ok()?)
    }

    fn atom(&mut self, depth: u32) -> Option<i128> {
        if depth == DEPTH_MAX {
            return None;
        }
        if self.take_one_of("-").is_some() {
            return self.atom(depth + 1)?.checked_neg();
        }
        if self.take_one_of("(").is_some() {
            let value = self.sum(depth + 1)?;
            return self.take_one_of(")").map(|_| value);
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        (self.leaf)(number).map(i128::from)
    }

    fn take_one_of(&mut self, signs: &str) -> Option<char> {
        let sign = self.rest.chars().next().filter(|sign| signs.contains(*sign))?;
        self.rest = self.rest[sign.len_utf8()..].trim_start();
        Some(sign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<i128> {
        evaluate(text, &|number| number.parse().ok())
    }

    #[test]
    fn sums_bind_as_everywhere() {
        let cases = [
            ("7", 7),
            ("1+2*3", 7),
            ("(1+2)*3", 9),
            ("10-2-3", 5),
            ("4096/3", 1365),
            ("17%5", 2),
            ("2^3^2", 512),
            ("-(2+3) * -2", 10),
            (" 10*10*1000*24105 ", 2_410_500_000),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_sum_is_refused() {
        for bad in
            ["", "1+", "(1", "1)", "1 2", "x", "1/0", "5%0", "2^-1", "2^200", "3m*2", "1.5*2"]
        {
            assert_eq!(value(bad), None, "{bad}");
        }
    }

    #[test]
    fn depth_has_an_end() {
        let nested = |depth| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(value(&nested(60)), Some(1));
        for deep in [nested(100_000), "-".repeat(100_000) + "1", "1^".repeat(100_000) + "1"] {
            assert_eq!(value(&deep), None);
        }
    }
}
