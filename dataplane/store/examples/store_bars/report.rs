//! What a bar is, and how it is printed.

/// What is wanted of a number.
#[derive(Clone, Copy)]
pub(crate) enum Want {
    AtLeast(f64),
    AtMost(f64),
    /// Nothing: it is told to explain another.
    Told,
}

/// A measured bar.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) measured: f64,
    pub(crate) unit: &'static str,
    pub(crate) want: Want,
}

impl Row {
    pub(crate) fn new(
        name: impl Into<String>,
        measured: f64,
        unit: &'static str,
        want: Want,
    ) -> Row {
        Row { name: name.into(), measured, unit, want }
    }

    pub(crate) fn is_met(&self) -> bool {
        match self.want {
            Want::AtLeast(least) => self.measured >= least,
            Want::AtMost(most) => self.measured <= most,
            Want::Told => true,
        }
    }

    pub(crate) fn print(&self) {
        let Row { name, unit, .. } = self;
        let measured = number(self.measured);
        let (want, met) = match self.want {
            Want::AtLeast(least) => (format!("≥ {}", number(least)), self.is_met()),
            Want::AtMost(most) => (format!("≤ {}", number(most)), self.is_met()),
            Want::Told => return println!("| {name} | {measured} {unit} | | |"),
        };
        let met = if met { "met" } else { "missed" };
        println!("| {name} | {measured} {unit} | {want} | {met} |");
    }
}

pub(crate) fn head() {
    println!("| bar | measured | wanted | |");
    println!("|---|---:|---:|---|");
}

fn number(value: f64) -> String {
    match value.abs() {
        magnitude if magnitude >= 1000.0 => format!("{value:.0}"),
        magnitude if magnitude >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// Tells more where `STORE_BARS_VERBOSE` is set.
pub(crate) fn verbose(text: &str) {
    if std::env::var_os("STORE_BARS_VERBOSE").is_some() {
        eprintln!("{text}");
    }
}
