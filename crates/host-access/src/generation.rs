//! The generation mark of a host, and what a claim makes of it. Pure.
//!
//! An installation that was restored from a backup has a higher generation than before, and its former self may still be
//! running, with the same key and the same records. So each host has a mark: the generation that works on it. Before each
//! change of a host, in the same script, the mark is compared with the claim of the installation that wants to make it:
//! `playbooks/files/claim.sh` does that on hosts, [`compare`] on simulated ones, by the same rules.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The longest mark that is read, in bytes.
const MARK_LIMIT: usize = 16384;

/// The most digits of a generation.
const DIGITS: usize = 18;

/// The longest id of a generation.
const ID_LIMIT: usize = 64;

/// The first word of what a host prints when it refuses a claim.
const FENCED: &str = "fenced";

/// How a host is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimMode {
    /// A host without a mark, or with one of an earlier generation, is taken over.
    Take,
    /// Only a host that has the mark already is kept: this installation was restored, and has not taken over its hosts.
    Keep,
    /// A mark that was last confirmed before an operator registered the host with this installation, so many seconds ago, is
    /// replaced; else like `Take`.
    Register(u64),
}

/// Its word in scripts.
impl fmt::Display for ClaimMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Take => f.write_str("take"),
            Self::Keep => f.write_str("keep"),
            Self::Register(seconds) => write!(f, "register:{seconds}"),
        }
    }
}

impl ClaimMode {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "take" => Some(Self::Take),
            "keep" => Some(Self::Keep),
            _ => word.strip_prefix("register:")?.parse().ok().map(Self::Register),
        }
    }
}

/// The claim of an installation to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The id of the installation, which its former self has, too.
    pub instance: String,
    /// What its mark on a host says.
    pub mark: Mark,
    /// How the host is claimed.
    pub mode: ClaimMode,
}

/// `INSTANCE GENERATION ID MODE SIGNATURE`: the arguments of the script.
impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance, mark: Mark { generation, id, signature }, mode } = self;
        write!(f, "{instance} {generation} {id} {mode} {signature}")
    }
}

/// A text is not a claim.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a claim to a host")]
pub struct ClaimError(String);

impl FromStr for Claim {
    type Err = ClaimError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ClaimError(text.to_owned());
        let words: Vec<_> = text.split(' ').collect();
        let [instance, generation, id, mode, signature] = words[..] else { return Err(error()) };
        let mode = ClaimMode::parse(mode);
        let mark = Mark::parse(&format!("{generation} {id} {signature}"));
        let (Some(mode), Some(mark)) = (mode, mark) else { return Err(error()) };
        Ok(Self { instance: instance.to_owned(), mark, mode })
    }
}

/// A line of the mark of a host: one installation in one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The generation.
    pub generation: u64,
    /// The id of the generation; two installations that were restored from the same backup have the same generation, and
    /// other ids.
    pub id: String,
    /// The signature of the server's own SSH key over [`signed_text`], as base64.
    pub signature: String,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.generation, self.id, self.signature)
    }
}

impl Mark {
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split(' ').collect();
        let [generation, id, signature] = words[..] else { return None };
        let is_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
        let is_valid = (1..=DIGITS).contains(&generation.len())
            && generation.chars().all(|c| c.is_ascii_digit())
            && (1..=ID_LIMIT).contains(&id.len())
            && id.chars().all(is_id)
            && !signature.is_empty()
            && signature.chars().all(is_base64);
        let generation = generation.parse().ok().filter(|_| is_valid)?;
        Some(Self { generation, id: id.to_owned(), signature: signature.to_owned() })
    }
}

/// The text that the signature of a mark is about.
pub fn signed_text(instance: &str, generation: u64, id: &str) -> String {
    format!("commissaire-generation\n{instance}\n{generation}\n{id}\n")
}

/// The mark of a host, as it is looked at without a claim. It comes from the host, as a [`Refusal`] does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenMarks {
    /// Its lines that can be read; none without a mark.
    pub marks: Vec<Mark>,
    /// How long ago it was confirmed, by the clock of the host; `None` without a mark.
    pub confirmed: Option<Duration>,
}

impl SeenMarks {
    /// What a host prints: nothing without a mark, else its age in seconds, and the mark.
    pub fn parse(printed: &str) -> Self {
        let mut lines = printed.lines();
        // A mark from the future was confirmed just now.
        let age = lines.next().and_then(|age| age.trim().parse::<i64>().ok());
        let confirmed = age.map(|age| Duration::from_secs(u64::try_from(age).unwrap_or(0)));
        Self { marks: lines.map_while(Mark::parse).collect(), confirmed }
    }
}

/// Why a host refuses a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// A later generation has the host.
    Newer,
    /// Another installation of the same generation claims it.
    Contested,
    /// This installation may not take it over.
    NotTakenOver,
    /// The mark cannot be read.
    Damaged,
}

impl Fence {
    const ALL: [Self; 4] = [Self::Newer, Self::Contested, Self::NotTakenOver, Self::Damaged];

    /// Its word in scripts.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Newer => "newer",
            Self::Contested => "contested",
            Self::NotTakenOver => "not-taken-over",
            Self::Damaged => "damaged",
        }
    }
}

/// What a host answers to a claim that it refuses. It comes from the host, so nothing in it is certain before the
/// signatures of its marks are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub fence: Fence,
    /// The lines of the mark that can be read.
    pub marks: Vec<Mark>,
}

/// As the script prints it: `fenced WHY`, then the mark.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FENCED} {}", self.fence.word())?;
        self.marks.iter().try_for_each(|mark| write!(f, "\n{mark}"))
    }
}

impl Refusal {
    /// The refusal in what a script or a task of a playbook has printed, among other lines; `None` without one.
    pub fn find(printed: &str) -> Option<Self> {
        let mut lines = printed.lines().map(str::trim_end);
        let fence = lines.find_map(|line| {
            let (FENCED, word) = line.split_once(' ')? else { return None };
            Fence::ALL.into_iter().find(|fence| fence.word() == word)
        })?;
        Some(Self { fence, marks: lines.map_while(Mark::parse).collect() })
    }
}

/// What a host does with a claim: its new mark, if that changes, and why it refuses the claim, if it does. The mark was last
/// confirmed `confirmed` seconds ago.
pub fn compare(
    mark: Option<&str>,
    confirmed: u64,
    claim: &Claim,
) -> (Option<String>, Result<(), Refusal>) {
    let is_older = matches!(claim.mode, ClaimMode::Register(registered) if confirmed >= registered);
    let own = format!("{}\n", claim.mark);
    let written = |text: String| (mark != Some(&text)).then_some(text);
    let marks = match mark {
        None => Vec::new(),
        Some(_) if is_older => Vec::new(),
        Some(text) => match lines(text) {
            Ok(marks) => marks,
            Err(marks) => return (None, Err(Refusal { fence: Fence::Damaged, marks })),
        },
    };
    let refusal = |fence, marks| Err(Refusal { fence, marks });
    let highest = marks.iter().map(|mark| mark.generation).max().unwrap_or_default();
    if highest > claim.mark.generation {
        return (None, refusal(Fence::Newer, marks));
    }
    if highest < claim.mark.generation {
        return match claim.mode {
            ClaimMode::Keep => (None, refusal(Fence::NotTakenOver, marks)),
            ClaimMode::Take | ClaimMode::Register(_) => (written(own), Ok(())),
        };
    }
    let same = marks.iter().filter(|mark| mark.generation == highest);
    let (owns, others): (Vec<_>, Vec<_>) = same.cloned().partition(|mark| mark.id == claim.mark.id);
    if others.is_empty() {
        return (written(own), Ok(()));
    }
    if owns.is_empty() && claim.mode != ClaimMode::Keep {
        let marks: Vec<_> = others.into_iter().chain([claim.mark.clone()]).collect();
        let lines: Vec<_> = marks.iter().map(Mark::to_string).collect();
        let text = lines.join("\n") + "\n";
        return (written(text), refusal(Fence::Contested, marks));
    }
    (None, refusal(Fence::Contested, marks))
}

/// The lines of a mark; those that can be read, if it is damaged.
fn lines(text: &str) -> Result<Vec<Mark>, Vec<Mark>> {
    let is_whole = !text.is_empty() && text.len() <= MARK_LIMIT && text.ends_with('\n');
    let parsed: Option<Vec<_>> = text.split_terminator('\n').map(Mark::parse).collect();
    // As the script prints it.
    let printed = &text[..text.floor_char_boundary(MARK_LIMIT)];
    let readable = || printed.lines().map_while(Mark::parse).collect();
    parsed.filter(|_| is_whole).ok_or_else(readable)
}
