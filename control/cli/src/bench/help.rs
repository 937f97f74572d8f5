//! The help of `isotherm bench`, made of its tables.

use isotherm_workload::{Kind, options};

use super::flags::FLAGS;

pub(super) fn long_help() -> String {
    let mut text = String::from(
        "isotherm bench [--FLAG=VALUE]... [JOBFILE]...\n\n\
         Flags of the run:\n",
    );
    for flag in FLAGS {
        let shape = match flag.value {
            "" => format!("--{}", flag.name),
            value => format!("--{}={value}", flag.name),
        };
        text.push_str(&format!("  {shape:<30} {}\n", flag.help));
    }
    text.push_str(
        "\nOptions of a job, as --NAME=VALUE or as NAME=VALUE in a job file. A --name begins a\n\
         job; what stands before the first one holds for all jobs:\n",
    );
    for row in options() {
        if row.without_effect().is_some() {
            continue;
        }
        let names = match row.alias {
            Some(alias) => format!("{}, {alias}", row.name),
            None => row.name.to_owned(),
        };
        text.push_str(&format!("  {names:<30} {}\n", row.help));
        if let Kind::Word(words) | Kind::Pattern(words) = row.kind {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            text.push_str(&format!("  {:<30} one of {}\n", "", words.join(" ")));
        }
    }
    let noted = options().filter(|row| row.without_effect().is_some());
    let noted: Vec<&str> = noted.map(|row| row.name).collect();
    text.push_str(&format!("  Accepted without effect, with a note: {}\n", noted.join(" ")));
    text.push_str(
        "\nA size suffix counts as in fio: k, kb are 1024, kib is 1000. A time is in seconds\n\
         unless it says us, ms, m, h or d.\n\n\
         A filename is the spec of a device if it begins with a kind of device or holds a `?`;\n\
         otherwise it is a path, or paths joined by `:` (`\\:` is a colon of the path). A job on\n\
         several files goes through them in turn, and they share its size and its iodepth. To\n\
         measure many disks at once, each with a depth of its own, use one job per disk, or\n\
         --disks. A spec is one filename, so repeat --filename for several.\n\n",
    );
    text.push_str(&isotherm_block::spec::help());
    text.push_str(
        "\nExamples:\n  \
         isotherm bench --filename=/dev/sdb --rw=randread --bs=4k --iodepth=4 --direct=1 --runtime=30\n  \
         isotherm bench --filename=null:1T --disks=256 --rw=randread --iodepth=32 --time_based --runtime=5\n  \
         isotherm bench --filename=hdd:exos-x24,null:24T --clock=virtual --rw=randread --number_ios=10000\n  \
         isotherm bench --filename='hdd:exos-x24,file:/tmp/d{}.img?size=1G' --disks=12 --rw=randread --runtime=20\n  \
         isotherm bench --output-format=json --output=out.json job.fio\n  \
         isotherm bench --disks=@rotational --rw=randread --direct=1 --iodepth=4 --runtime=30 --output-format=html --output=fleet.html\n  \
         isotherm bench --filename=/dev/sdb --direct=1 --rw=randread --iodepth=32 --find-knee=p99=50ms --repeat=3\n  \
         isotherm bench --filename=/dev/sdb --destroy=SERIAL --rw=write --bs=1m --iodepth=4 --direct=1\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_option() {
        let help = long_help();
        assert!(options().all(|row| help.contains(row.name)));
    }
}
