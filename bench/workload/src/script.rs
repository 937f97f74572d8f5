//! A command line and its job files, cut into sections and not yet understood.
//!
//! What must always hold: what is shown is what is read. As in fio, the options before the first
//! `--name` hold for the jobs of the command line and for the first job file; every further file
//! begins with the defaults, and with a stonewall.

use std::sync::Arc;

use crate::environment::Environment;
use crate::error::{Message, ParseCause, ParseError, Place};
use crate::jobfile::{self, Section, Setting};
use crate::option;

/// What a command line without `--name` calls its job.
const UNNAMED: &str = "bench";

/// A command line and its job files.
#[derive(Clone, Debug)]
pub struct Script {
    /// Of the command line; the first holds for all.
    pub(crate) flags: Vec<Section>,
    pub(crate) files: Vec<Vec<Section>>,
    /// What was found while cutting.
    pub(crate) messages: Vec<Message>,
    /// The last thing that was read, for the error that there is no job.
    pub(crate) last: Place,
}

impl Script {
    /// Cuts a command line in fio's manner: flags `--option=value` or `--option value`, each
    /// `--name` beginning a job, what stands before the first being global; anything that does
    /// not begin with a dash is a job file.
    pub fn from_arguments(
        arguments: &[String],
        environment: &Environment<'_>,
    ) -> Result<Script, ParseError> {
        let (mut flags, paths) = cut_arguments(arguments)?;
        if flags.len() == 1 && paths.is_empty() {
            // They are the job's own: there is no other.
            flags[0].name = UNNAMED.to_owned();
        }
        let last = flags[0].place.clone();
        let mut script = Script { flags, files: Vec::new(), messages: Vec::new(), last };
        for path in paths {
            let file: Arc<str> = path.into();
            let text = std::fs::read_to_string(&*file).map_err(|error| {
                let place = Place::File { file: Arc::clone(&file), line: 0 };
                ParseError::new(place, ParseCause::Unreadable { kind: error.kind() })
            })?;
            script.add_text(&file, &text, environment)?;
        }
        if script.files.len() > 1
            && let Some(setting) = script.flags[0].settings.first()
        {
            let text =
                "options before the first --name hold for the first job file only, as in fio";
            script.messages.push(Message { place: setting.place.clone(), text: text.to_owned() });
        }
        Ok(script)
    }

    /// Cuts the text of a job file; `file` is what messages call it.
    pub fn from_text(
        file: &str,
        text: &str,
        environment: &Environment<'_>,
    ) -> Result<Script, ParseError> {
        let file: Arc<str> = file.into();
        let last = Place::File { file: Arc::clone(&file), line: 0 };
        let mut script =
            Script { flags: Vec::new(), files: Vec::new(), messages: Vec::new(), last };
        script.add_text(&file, text, environment)?;
        Ok(script)
    }

    fn add_text(
        &mut self,
        file: &Arc<str>,
        text: &str,
        environment: &Environment<'_>,
    ) -> Result<(), ParseError> {
        let mut sections = jobfile::sections(file, text, environment, &mut self.messages)?;
        for section in &mut sections {
            section.settings.sort_by_key(|setting| {
                option::find(&setting.name).map_or(0, option::OptionRow::turn)
            });
        }
        self.files.push(sections);
        self.last = Place::File { file: Arc::clone(file), line: 0 };
        Ok(())
    }

    /// Leaves only the sections of job files that are named so, and the global ones. A name that
    /// none has is an error. fio 3.33 forgets the names after the first file and runs all of the
    /// others; here they hold for every file, as nobody wants a job that he has left out.
    pub fn keep(&mut self, names: &[String]) -> Result<(), ParseError> {
        for name in names {
            if !self.files.iter().flatten().any(|section| section.name == *name) {
                let argument = format!("--section={name}").into();
                return Err(ParseError::new(Place::Flag { argument }, ParseCause::NoSuchSection));
            }
        }
        for sections in self.files.iter_mut().filter(|_| !names.is_empty()) {
            sections.retain(|section| section.is_global() || names.contains(&section.name));
        }
        Ok(())
    }

    /// The job files as command lines of fio, one each, as `fio --showcmd` writes them. As
    /// there, a global section takes the place where it stands and says once more all that was
    /// global before it, and values are not quoted for a shell, the description excepted.
    pub fn command_lines(&self) -> Vec<String> {
        let mut global: Vec<&Setting> = Vec::new();
        global.extend(self.flags.iter().take(1).flat_map(|section| &section.settings));
        let mut lines = Vec::new();
        for sections in &self.files {
            let mut line = String::from("fio ");
            for section in sections {
                if section.is_global() {
                    global.extend(&section.settings);
                    global.iter().for_each(|setting| setting.show(&mut line));
                } else {
                    line.push_str(&format!("--name={} ", section.name));
                    section.settings.iter().for_each(|setting| setting.show(&mut line));
                }
            }
            lines.push(line);
            global.clear();
        }
        lines
    }
}

impl Setting {
    fn show(&self, line: &mut String) {
        let Setting { name, value, .. } = self;
        // As fio calls it, whatever other name it was given by.
        let name = option::find(name).map_or(name.as_str(), |row| row.name);
        match value {
            Some(value) if name == "description" => {
                line.push_str(&format!("--{name}=\"{value}\" "))
            }
            Some(value) => line.push_str(&format!("--{name}={value} ")),
            None => line.push_str(&format!("--{name} ")),
        }
    }
}

/// Flags as sections, the first being what is global, and the job files.
fn cut_arguments(arguments: &[String]) -> Result<(Vec<Section>, Vec<String>), ParseError> {
    let section =
        |name: &str, place: Place| Section { name: name.to_owned(), settings: Vec::new(), place };
    let start = Place::Flag { argument: arguments.first().map_or("", String::as_str).into() };
    let mut sections = vec![section("global", start)];
    let mut files = Vec::new();
    let mut rest = arguments.iter().peekable();
    while let Some(argument) = rest.next() {
        let place = Place::Flag { argument: argument.as_str().into() };
        let Some(flag) = argument.strip_prefix("--") else {
            if let Some(name) = argument.strip_prefix('-') {
                let cause = ParseCause::SingleDash { name: name.to_owned() };
                return Err(ParseError::new(place, cause));
            }
            files.push(argument.clone());
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => {
                let wants_value = option::find(flag).is_some_and(|row| !row.value_is_optional());
                let next = wants_value.then(|| rest.next_if(|next| !next.starts_with("--")));
                (flag, next.flatten().cloned())
            }
        };
        // A dash is as good as an underscore; fio is stricter.
        let dashed = name.replace('-', "_");
        let name = if option::find(&dashed).is_some() { dashed } else { name.to_owned() };
        let setting = Setting { name, value, place: place.clone() };
        if setting.name == "name" {
            sections.push(section(setting.value.as_deref().unwrap_or_default(), place));
        }
        sections.last_mut().expect("the global one at least").settings.push(setting);
    }
    Ok((sections, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str, keep: &[&str]) -> String {
        let mut script = Script::from_text("a.fio", text, &Environment::empty()).unwrap();
        let keep: Vec<String> = keep.iter().map(|name| (*name).to_owned()).collect();
        script.keep(&keep).unwrap();
        script.command_lines().concat()
    }

    #[test]
    fn sections_are_shown_as_flags_in_fios_order() {
        let text = "[global]\nfilename=x\nsize=1m\nkb_base=1000\n[a]\nrw = read\nstonewall\n\
                    description=a b\n[global2]\nbs=8k\n[b]\n";
        assert_eq!(
            show(text, &[]),
            "fio --kb_base=1000 --size=1m --filename=x --name=a --rw= read --stonewall \
             --description=\"a b\" --kb_base=1000 --size=1m --filename=x --bs=8k --name=b "
        );
    }

    #[test]
    fn keeping_a_section_keeps_the_global_ones() {
        let text = "[global]\nbs=4k\n[ab]\nrw=read\n[b]\nrw=write\n[globalx]\nbs=8k\n";
        assert_eq!(show(text, &["b"]), "fio --bs=4k --name=b --rw=write --bs=4k --bs=8k ");
        assert_eq!(
            show(text, &["b", "ab"]),
            "fio --bs=4k --name=ab --rw=read --name=b --rw=write --bs=4k --bs=8k "
        );
        let mut script = Script::from_text("a.fio", text, &Environment::empty()).unwrap();
        let error = script.keep(&["a".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "--section=a: no job file has this section");
    }
}
