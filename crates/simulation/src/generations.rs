//! Two installations over the same hosts: one was restored from a backup of the other, which still runs.
//!
//! The backup is the store of the former installation at some moment, so the restored one goes on with its operations. Both
//! have operators who restart all hosts again and again. Hosts are down at the time of the take-over; one of them may have been
//! registered shortly before, and not be marked yet.
//!
//! - `installation`: one of them
//! - `world`: the hosts, and what was done to them

mod installation;
mod world;

use std::time::Duration;

use runtime::random;
use tokio::task::LocalSet;

use installation::Installation;
use world::{HOSTS, World, address};

/// How long a phase takes: longer than hosts are down, and than the watcher waits between two claims.
const PHASE: Duration = Duration::from_mins(24);

/// What happens after the take-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Nothing.
    Nothing,
    /// The former installation is restored from a backup of the newer one, which still runs.
    Back,
    /// Another installation is restored from the same backup.
    Twin,
    /// A host is deleted in both, and registered with the former installation again.
    Registered,
}

const THEN: [Then; 4] = [Then::Nothing, Then::Back, Then::Twin, Then::Registered];

/// A number below `limit`.
fn below(limit: u64) -> u64 {
    u64::from_le_bytes(random::bytes()) % limit
}

fn minutes(least: u64, most: u64) -> Duration {
    Duration::from_secs(60 * (least + below(most - least + 1)))
}

/// Plays a seed.
async fn play(seed: u64) {
    let mut all = THEN;
    random::shuffle(&mut all);
    let then = all[0];
    let takes_over_at_once = random::fraction() < 0.5;
    let world = World::new(seed);
    let mut former = Installation::first(&world).await;
    world.run(&[&former], minutes(1, 8)).await;
    if random::fraction() < 0.5 {
        former.remove(HOSTS - 1).await;
        world.power_off(HOSTS - 1, minutes(1, 30));
        former.register(&world, HOSTS - 1).await;
    }
    let backup = former.backup();
    world.power_off_some();
    let mut newer = Installation::restored(&world, &backup, 2, takes_over_at_once).await;
    if !takes_over_at_once {
        world.run(&[&former, &newer], PHASE).await;
        world.assert_untouched_by(2);
        newer.take_over(2).await;
    }
    world.run(&[&former, &newer], PHASE).await;
    former.assert_fenced(0..HOSTS).await;
    match then {
        Then::Nothing => {}
        Then::Back => {
            former.stop();
            let backup = newer.backup();
            world.power_off_some();
            let restored = Installation::restored(&world, &backup, 3, true).await;
            world.run(&[&newer, &restored], PHASE).await;
            newer.assert_fenced(0..HOSTS).await;
            (former, newer) = (newer, restored);
        }
        Then::Twin => {
            let mut twin = Installation::restored(&world, &backup, 2, true).await;
            world.run(&[&former, &newer, &twin], PHASE).await;
            for installation in [&former, &newer, &twin] {
                installation.assert_fenced(0..HOSTS).await;
            }
            twin.take_over(3).await;
            world.run(&[&former, &newer, &twin], PHASE).await;
            newer.assert_fenced(0..HOSTS).await;
            newer.stop();
            newer = twin;
        }
        Then::Registered => {
            // While the newer one has it in its records, it takes it over again.
            newer.remove(0).await;
            world.run(&[&former, &newer], PHASE).await;
            former.remove(0).await;
            former.register(&world, 0).await;
            world.run(&[&former, &newer], PHASE).await;
            former.assert_fenced(1..HOSTS).await;
            former.restart_to_the_end().await;
            assert!(world.is_touched_last_by(0, 1), "{}", address(0));
            // No host is refused for ever: registered again here, it is this one's again.
            newer.register(&world, 0).await;
            world.run(&[&former, &newer], PHASE).await;
        }
    }
    former.assert_fenced(1..HOSTS).await;
    newer.assert_has_all(&world).await;
    former.stop();
    newer.stop();
    assert_eq!(world.violations(), [""; 0]);
}

fn play_seeds(seeds: std::ops::Range<u64>) {
    drop(metrics::set_global_recorder(metrics::NoopRecorder));
    for seed in seeds {
        let _seeded = random::seeded(seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        eprintln!("seed {seed}");
        LocalSet::new().block_on(&runtime, Box::pin(play(seed)));
        runtime.shutdown_background();
    }
}

#[test]
fn no_host_is_touched_by_two_generations_nor_refused_for_ever() {
    play_seeds(0..6);
}

/// The same with more seeds.
mod full {
    #[test]
    fn generations_with_200_seeds() {
        super::play_seeds(6..206);
    }
}
