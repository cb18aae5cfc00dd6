//! The rules of generation marks: `playbooks/files/claim.sh` does the same as the function that simulated hosts use.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use host_access::generation::compare;
use host_access::{Claim, ClaimMode, Fence, Mark, Refusal};

const SCRIPT: &str = include_str!("../../../../playbooks/files/claim.sh");

/// Shells that hosts have.
const SHELLS: [&[&str]; 3] = [&["sh"], &["bash", "--posix"], &["busybox", "sh"]];

fn mark(generation: u64, id: &str) -> Mark {
    Mark { generation, id: id.to_owned(), signature: format!("{}+/=", id.replace('-', "")) }
}

fn claim(generation: u64, id: &str, mode: ClaimMode) -> Claim {
    Claim { instance: "i-1".to_owned(), mark: mark(generation, id), mode }
}

fn run(shell: &[&str], folder: &Path, claim: &Claim, then: &str) -> Output {
    let script =
        format!("set -eu\n{SCRIPT}\nclaim_host {} {claim} || exit\n{then}", folder.display());
    Command::new(shell[0]).args(&shell[1..]).args(["-c", &script]).output().unwrap()
}

fn set_confirmed(mark: &Path, at: SystemTime) {
    fs::File::options().append(true).open(mark).unwrap().set_modified(at).unwrap();
}

/// The marks that a host may have.
fn marks() -> Vec<Option<String>> {
    let line = |generation, id| format!("{}\n", mark(generation, id));
    let many: String = (0..2000).map(|_| line(2, "b")).collect();
    let mut marks = vec![None];
    let whole = [
        line(1, "a"),
        line(2, "a"),
        line(2, "b"),
        line(2, "b").replace('+', "/"),
        line(2, "a") + &line(2, "b"),
        line(2, "a") + &line(2, "c"),
        line(1, "b") + &line(2, "b"),
        line(2, "b") + &line(1, "a"),
        line(2, "a") + &line(2, "b") + &line(3, "c"),
        line(3, "a"),
        line(3, "b"),
        line(999_999_999_999_999_999, "a"),
        line(2, "b").replace('2', "0002"),
        String::new(),
        "\n".to_owned(),
        "2 b".to_owned(),
        mark(2, "b").to_string(),
        line(2, "b") + "\n",
        line(2, "b").replace('\n', "\r\n"),
        line(2, "b").replacen(' ', "  ", 1),
        line(2, "b").replace('2', "-2"),
        line(2, "b").replace('2', "2222222222222222222"),
        line(2, "b").replace('b', "$(touch x)"),
        line(2, "b").replace('b', "*"),
        format!(" {}", line(2, "b")),
        line(2, "b") + "garbage\n",
        line(2, &"b".repeat(65)),
        many,
    ];
    marks.extend(whole.map(Some));
    marks
}

#[test]
fn script_and_function_do_the_same_with_every_mark_and_claim() {
    let mut fences = Vec::new();
    for shell in SHELLS {
        if Command::new(shell[0]).args(&shell[1..]).args(["-c", "true"]).output().is_err() {
            testbed::skip("script_and_function_do_the_same", &format!("there is no {}", shell[0]));
            continue;
        }
        for before in marks() {
            // The mark was confirmed half a minute ago.
            for mode in [
                ClaimMode::Take,
                ClaimMode::Keep,
                ClaimMode::Register(10),
                ClaimMode::Register(1000),
            ] {
                let claim = claim(2, "b", mode);
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("generation-i-1");
                if let Some(before) = &before {
                    fs::write(&path, before).unwrap();
                    let confirmed = SystemTime::now() - Duration::from_secs(30);
                    set_confirmed(&path, confirmed);
                }
                let output = run(shell, folder.path(), &claim, "echo done");
                let (written, answer) = compare(before.as_deref(), 30, &claim);
                let what = format!("{shell:?} {before:?} {claim}: {output:?}");
                let printed = String::from_utf8(output.stdout).unwrap();
                match &answer {
                    Ok(()) => assert_eq!(
                        (output.status.code(), printed.as_str()),
                        (Some(0), "done\n"),
                        "{what}"
                    ),
                    Err(refusal) => {
                        assert_eq!(output.status.code(), Some(77), "{what}");
                        assert_eq!(Refusal::find(&printed).as_ref(), Some(refusal), "{what}");
                        fences.push(refusal.fence);
                    }
                }
                let after = fs::read_to_string(&path).ok();
                assert_eq!(after, written.or_else(|| before.clone()), "{what}");
                assert_eq!(
                    fs::read_dir(folder.path()).unwrap().count(),
                    1 + usize::from(after.is_some())
                );
            }
        }
    }
    for fence in [Fence::Newer, Fence::Contested, Fence::NotTakenOver, Fence::Damaged] {
        assert!(fences.contains(&fence), "{fence:?}");
    }
}

#[test]
fn mark_is_kept_for_each_installation_and_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let other = Claim { instance: "i-2".to_owned(), ..claim(1, "x", ClaimMode::Take) };
    for claim in [&claim(2, "b", ClaimMode::Take), &other] {
        assert!(run(SHELLS[0], folder.path(), claim, "").status.success());
    }
    let path = folder.path().join("generation-i-1");
    let long_ago = SystemTime::UNIX_EPOCH;
    set_confirmed(&path, long_ago);
    assert!(run(SHELLS[0], folder.path(), &claim(2, "b", ClaimMode::Keep), "").status.success());
    assert!(fs::metadata(&path).unwrap().modified().unwrap() > long_ago, "confirmed");
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", mark(2, "b")));
    assert_eq!(
        fs::read_to_string(folder.path().join("generation-i-2")).unwrap(),
        format!("{}\n", other.mark)
    );
}

/// A clock was wrong when such a mark was confirmed, and might be for years.
#[test]
fn mark_from_the_future_is_replaced_by_a_registration() {
    let folder = tempfile::tempdir().unwrap();
    let newer = claim(3, "c", ClaimMode::Take);
    assert!(run(SHELLS[0], folder.path(), &newer, "").status.success());
    let path = folder.path().join("generation-i-1");
    set_confirmed(&path, SystemTime::now() + Duration::from_hours(1));
    for (mode, expected) in [(ClaimMode::Take, Some(77)), (ClaimMode::Register(10), Some(0))] {
        let output = run(SHELLS[0], folder.path(), &claim(2, "b", mode), "");
        assert_eq!(output.status.code(), expected, "{output:?}");
    }
}

/// Of many that claim a host at the same time in different generations, each that goes on has found no higher one, and the
/// highest one has the host.
#[test]
fn claims_at_the_same_time_come_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let ended: Vec<_> = std::thread::scope(|scope| {
        let claims = (1..=16).map(|generation| {
            let (folder, log) = (folder.path(), &log);
            let then = format!("echo {generation} >>{}", log.display());
            scope.spawn(move || {
                run(SHELLS[0], folder, &claim(generation, "a", ClaimMode::Take), &then)
            })
        });
        let claims: Vec<_> = claims.collect();
        claims.into_iter().map(|claim| claim.join().unwrap().status.code()).collect()
    });
    let done: Vec<u64> =
        fs::read_to_string(&log).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert!(done.is_sorted(), "an earlier generation went on after a later one: {done:?}");
    assert_eq!(done.last(), Some(&16));
    assert_eq!(done.len(), ended.iter().filter(|code| **code == Some(0)).count());
    assert!(ended.iter().all(|code| matches!(code, Some(0 | 77))), "{ended:?}");
}

#[test]
fn host_that_cannot_be_marked_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let output = run(SHELLS[0], &file, &claim(1, "a", ClaimMode::Take), "echo done");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot be marked, and nothing was done"), "{said}");
}

#[test]
fn claim_is_read_as_it_is_written() {
    for mode in [ClaimMode::Take, ClaimMode::Keep, ClaimMode::Register(90)] {
        let claim = claim(7, "a-b", mode);
        assert_eq!(claim.to_string().parse::<Claim>().unwrap(), claim);
    }
    for wrong in
        ["", "i 1 a take", "i 1 a steal AA", "i x a take AA", "i 1 a take A A", "i 1 a register AA"]
    {
        assert!(wrong.parse::<Claim>().is_err(), "{wrong}");
    }
    assert_eq!(Refusal::find("fenced\nfenced often\n"), None);
    let printed = "non-zero return code\nfenced newer\n3 a AA==\nmore\n";
    let expected = Mark { generation: 3, id: "a".to_owned(), signature: "AA==".to_owned() };
    let refusal = Refusal { fence: Fence::Newer, marks: vec![expected] };
    assert_eq!(Refusal::find(printed), Some(refusal));
}
