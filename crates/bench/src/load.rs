//! Whether the machine has other things to do.

use std::time::Duration;

use tokio::time::sleep;

/// How long it is watched.
const WATCHED: Duration = Duration::from_millis(500);

/// More than this share of its processors busy, and it is not calm.
const CALM: f64 = 0.1;

/// How busy the machine is, in percent, when that is more than a measurement can stand.
pub async fn not_calm() -> Option<f64> {
    let before = read()?;
    sleep(WATCHED).await;
    let busy = busy(before, read()?);
    (busy > CALM).then_some(busy * 100.0)
}

/// Ticks since the start of the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ticks {
    idle: u64,
    all: u64,
}

fn read() -> Option<Ticks> {
    parse(&std::fs::read_to_string("/proc/stat").ok()?)
}

/// The first line of `/proc/stat`: user, nice, system, idle, waiting for a disk, interrupts (twice), stolen.
fn parse(text: &str) -> Option<Ticks> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|n| n.parse().ok()).collect();
    Some(Ticks { idle: ticks.get(3)? + ticks.get(4)?, all: ticks.iter().sum() })
}

#[expect(clippy::cast_precision_loss, reason = "a share of a second's ticks")]
fn busy(before: Ticks, after: Ticks) -> f64 {
    let all = after.all.saturating_sub(before.all).max(1);
    1.0 - after.idle.saturating_sub(before.idle).min(all) as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_all_processors() {
        let before = parse("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!(before, Ticks { idle: 850, all: 1000 });
        let after = parse("cpu  120 0 50 870 60 0 0 0 0 0\n").unwrap();
        assert!((busy(before, after) - 0.2).abs() < 1e-9);
        assert!(busy(before, before).abs() <= 1.0);
        assert_eq!(parse("intr 7"), None);
    }
}
