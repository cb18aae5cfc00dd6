//! Counts of instructions, and the baseline that they are compared with. They are counted by
//! `examples/instructions`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

/// How many times the instructions of the baseline an operation may take.
const MOST: f64 = 1.05;

/// With fewer than so many times, the baseline is out of date: what was saved could be lost again unnoticed.
const LEAST: f64 = 0.95;

/// By how many percent an operation on a large scale may differ from that on a small one.
const ALIKE: u64 = 20;

/// How many functions are shown of a profile.
const SHOWN: usize = 10;

/// What a program was built by: counts of other builds say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// As the compiler names itself.
    pub compiler: String,
    /// The profile of cargo.
    pub profile: String,
}

/// Instructions by the names of operations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    #[serde(flatten)]
    build: Build,
    instructions: BTreeMap<String, u64>,
}

/// The counts of this run and of the baseline, operation by operation.
#[derive(Debug)]
pub struct Comparison(Vec<Line>);

#[derive(Debug)]
struct Line {
    name: String,
    before: u64,
    now: u64,
}

impl Build {
    /// That of this program, if the compiler that cargo uses is still the one that has built it.
    ///
    /// # Errors
    /// When the compiler cannot be asked.
    pub fn current() -> anyhow::Result<Self> {
        let output = Command::new("rustc").arg("--version").output();
        let output = output.context("cannot ask rustc for its version")?.stdout;
        let compiler = String::from_utf8(output).context("rustc's version is not UTF-8")?;
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        Ok(Self { compiler: compiler.trim().to_owned(), profile: profile.to_owned() })
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, profile {}", self.compiler, self.profile)
    }
}

impl Baseline {
    /// One without an operation yet.
    pub fn new(build: Build) -> Self {
        Self { build, instructions: BTreeMap::new() }
    }

    /// Adds an operation.
    pub fn insert(&mut self, name: &str, instructions: u64) {
        self.instructions.insert(name.to_owned(), instructions);
    }

    /// Checks that an operation takes as much on a large scale as on a small one, within 20 %.
    ///
    /// # Errors
    /// When it takes more or less, or one of them was not counted.
    pub fn ensure_alike(&self, small: &str, large: &str) -> anyhow::Result<()> {
        let count =
            |name| self.instructions.get(name).with_context(|| format!("{name}: not counted"));
        let (small_count, large_count) = (*count(small)?, *count(large)?);
        let difference = small_count.abs_diff(large_count);
        ensure!(
            difference * 100 <= small_count * ALIKE,
            "{large} takes {large_count} instructions, and {small} {small_count}: more than {ALIKE} % apart"
        );
        Ok(())
    }

    /// Reads a baseline.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a baseline.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let read = || anyhow::Ok(serde_json::from_str(&std::fs::read_to_string(file)?)?);
        read().with_context(|| format!("cannot read the baseline {}", file.display()))
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(file, text)
            .with_context(|| format!("cannot write the baseline {}", file.display()))
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.build)?;
        let mut lines = self.instructions.iter();
        lines.try_for_each(|(name, count)| writeln!(f, "{name:<24}{count:>14}"))
    }
}

impl Comparison {
    /// Compares what was counted with the baseline.
    ///
    /// # Errors
    /// When they are of different builds or operations.
    pub fn new(baseline: &Baseline, counted: &Baseline) -> anyhow::Result<Self> {
        let update = "Nothing was compared; `tools/instructions --update` writes a new baseline";
        ensure!(
            baseline.build == counted.build,
            "the baseline was counted with {}, and this program is built with {}. {update}",
            baseline.build,
            counted.build
        );
        ensure!(
            baseline.instructions.keys().eq(counted.instructions.keys()),
            "the baseline has other operations than this program. {update}"
        );
        let both = baseline.instructions.iter().zip(counted.instructions.values());
        let line = |((name, before), now): ((&String, &u64), &u64)| Line {
            name: name.clone(),
            before: *before,
            now: *now,
        };
        Ok(Self(both.map(line).collect()))
    }

    /// Whether an operation takes more than it may.
    pub fn is_exceeded(&self, name: &str) -> bool {
        self.0.iter().any(|line| line.name == name && line.ratio() > MOST)
    }

    /// Whether none takes more than it may.
    pub fn is_kept(&self) -> bool {
        self.0.iter().all(|line| line.ratio() <= MOST)
    }
}

impl Line {
    #[expect(clippy::cast_precision_loss, reason = "a ratio, to three digits")]
    fn ratio(&self) -> f64 {
        self.now as f64 / self.before as f64
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<24}{:>14}{:>14}{:>8}", "instructions", "baseline", "now", "ratio")?;
        for line in &self.0 {
            let (Line { name, before, now }, ratio) = (line, line.ratio());
            let verdict = match ratio {
                _ if ratio > MOST => "  TOO MANY",
                _ if ratio < LEAST => "  fewer: tools/instructions --update",
                _ => "",
            };
            writeln!(f, "{name:<24}{before:>14}{now:>14}{ratio:>8.3}{verdict}")?;
        }
        Ok(())
    }
}

/// All instructions in a report of callgrind.
///
/// # Errors
/// When it names none.
pub fn total(report: &str) -> anyhow::Result<u64> {
    let total = report.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = total.context("callgrind's report has no totals")?;
    total.trim().parse().context("callgrind's totals are no number")
}

/// The functions that take most instructions themselves, from what `callgrind_annotate` prints.
pub fn top_functions(annotated: &str) -> String {
    let functions = annotated.lines().skip_while(|line| !line.ends_with("file:function"));
    let functions = functions.filter(|line| line.contains("%)"));
    functions.take(SHOWN).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(compiler: &str, counts: &[(&str, u64)]) -> Baseline {
        let build = Build { compiler: compiler.to_owned(), profile: "dev".to_owned() };
        let mut baseline = Baseline::new(build);
        for (name, count) in counts {
            baseline.insert(name, *count);
        }
        baseline
    }

    #[test]
    fn five_percent_more_are_tolerated_and_six_are_not() {
        let before = counts("1.95", &[("get", 1_000), ("list", 1_000)]);
        let kept = Comparison::new(&before, &counts("1.95", &[("get", 1_050), ("list", 10)]));
        assert!(kept.unwrap().is_kept());
        let now = counts("1.95", &[("get", 1_060), ("list", 940)]);
        let exceeded = Comparison::new(&before, &now).unwrap();
        assert!(
            !exceeded.is_kept() && exceeded.is_exceeded("get") && !exceeded.is_exceeded("list")
        );
        let expected = "\
instructions                  baseline           now   ratio
get                               1000          1060   1.060  TOO MANY
list                              1000           940   0.940  fewer: tools/instructions --update
";
        assert_eq!(exceeded.to_string(), expected);
    }

    #[test]
    fn counts_of_other_builds_and_operations_are_not_compared() {
        let before = counts("1.95", &[("get", 1_000)]);
        for (other, says) in [
            (
                counts("1.96", &[("get", 1_000)]),
                "with 1.95, profile dev, and this program is built with 1.96",
            ),
            (counts("1.95", &[("get", 1_000), ("put", 1)]), "other operations"),
        ] {
            let error = Comparison::new(&before, &other).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn baseline_reads_back_as_it_was_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let baseline = counts("1.95", &[("get", 7)]);
        baseline.write(file.path()).unwrap();
        assert_eq!(Baseline::read(file.path()).unwrap(), baseline);
        let error = Baseline::read(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.contains("/nowhere"), "{error}");
    }

    #[test]
    fn callgrinds_reports_are_understood() {
        assert_eq!(total("version: 1\nfn=(1) x\n1 5\ntotals: 1234\n").unwrap(), 1_234);
        assert!(total("version: 1\n").is_err() && total("totals: many\n").is_err());
        let rows = |count| {
            let row = |number| format!("{number} (50.00%)  ???:function_{number} [x]");
            (0..count).map(row).collect::<Vec<_>>().join("\n")
        };
        let total = "20 (100.0%)  PROGRAM TOTALS\n\n----\nIr  file:function\n----\n";
        assert_eq!(top_functions(&format!("{total}{}", rows(12))), rows(10));
    }
}
