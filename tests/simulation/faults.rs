//! The faults, and when they happen.

use crate::seed::Rng;
use crate::store::Way;
use crate::world::{World, endpoint, machine};
use kdaemon::engine::{ContainerState, EngineError, Identity};
use kdaemon_events::Protocol;
use kdaemon_testing::engines::{Crash, Machine, SeenContainer};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    // Engines and their machines.
    EngineCrash,
    PowerLoss,
    EngineRestart,
    Reboot,
    Hang,
    OneWayPartition,
    Slow,
    LoseMessages,
    LoseDisk,
    FullDisk,
    NewMachine,
    LaunchesFail,
    LaunchesAreRejected,
    LaunchesTimeOutThoughDone,
    RegistryDown,
    RegistryCut,
    // Containers.
    ProcessEnds,
    OutOfMemory,
    TurnsUnhealthy,
    RemovedBehindOurBack,
    StartedBehindOurBack,
    PausedBehindOurBack,
    PortTakenByAStranger,
    // The daemon and its network.
    KillDaemon,
    KillDaemonAtAStep,
    NetworkOfTheDaemonFails,
    PartOfTheNetworkFails,
    SecondDaemon,
    // The store.
    StoreFails,
    StoreAnswersAreLost,
    StoreWritesLate,
    StoreIsSlow,
    StoreIsAway,
}

impl Fault {
    pub const ALL: [Self; 33] = [
        Self::EngineCrash,
        Self::PowerLoss,
        Self::EngineRestart,
        Self::Reboot,
        Self::Hang,
        Self::OneWayPartition,
        Self::Slow,
        Self::LoseMessages,
        Self::LoseDisk,
        Self::FullDisk,
        Self::NewMachine,
        Self::LaunchesFail,
        Self::LaunchesAreRejected,
        Self::LaunchesTimeOutThoughDone,
        Self::RegistryDown,
        Self::RegistryCut,
        Self::ProcessEnds,
        Self::OutOfMemory,
        Self::TurnsUnhealthy,
        Self::RemovedBehindOurBack,
        Self::StartedBehindOurBack,
        Self::PausedBehindOurBack,
        Self::PortTakenByAStranger,
        Self::KillDaemon,
        Self::KillDaemonAtAStep,
        Self::NetworkOfTheDaemonFails,
        Self::PartOfTheNetworkFails,
        Self::SecondDaemon,
        Self::StoreFails,
        Self::StoreAnswersAreLost,
        Self::StoreWritesLate,
        Self::StoreIsSlow,
        Self::StoreIsAway,
    ];
}

/// Injects faults until `peace` is cancelled.
pub async fn run(world: Arc<World>, peace: CancellationToken, luck: u64) {
    let mut rng = Rng::new(luck, "faults");
    let _ = peace
        .run_until_cancelled(async {
            loop {
                let most = u64::try_from(world.profile.fault_every.as_millis()).unwrap_or(1_000) * 2;
                tokio::time::sleep(Duration::from_millis(rng.within(0..=most))).await;
                let fault = rng.weighted(&world.profile.faults);
                world.counts_as_fault();
                inject(&world, &peace, &mut rng, fault);
            }
        })
        .await;
}

/// A duration: mostly short, sometimes long.
fn a_while(rng: &mut Rng) -> Duration {
    let most = *rng.pick(&[800, 4_000, 20_000, 120_000]).unwrap_or(&4_000);
    Duration::from_millis(rng.within(50..=most))
}

/// Ends a fault after a while, or when `peace` is cancelled.
fn until(
    world: &Arc<World>,
    peace: &CancellationToken,
    after: Duration,
    end: impl FnOnce(&World) + Send + 'static,
) {
    let (world, peace) = (Arc::clone(world), peace.clone());
    tokio::spawn(async move {
        let _ = peace.run_until_cancelled(tokio::time::sleep(after)).await;
        end(&world);
    });
}

fn inject(world: &Arc<World>, peace: &CancellationToken, rng: &mut Rng, fault: Fault) {
    let while_ = a_while(rng);
    let number = 1 + rng.below(world.profile.machines);
    let Some(machine) = world.engines.machine(&endpoint(number)) else { return };
    match fault {
        Fault::EngineCrash | Fault::PowerLoss => {
            machine.crash(if fault == Fault::PowerLoss { Crash::Machine } else { Crash::EngineOnly });
            until(world, peace, while_, move |_| machine.start());
        }
        Fault::EngineRestart => machine.restart(Crash::EngineOnly),
        Fault::Reboot => machine.restart(Crash::Machine),
        Fault::Hang => {
            machine.cut();
            until(world, peace, while_, move |_| machine.heal());
        }
        Fault::OneWayPartition => {
            machine.cut_answers();
            until(world, peace, while_, move |_| machine.heal());
        }
        Fault::Slow => {
            machine.slow(*rng.pick(&[5, 50, 400]).unwrap_or(&5));
            until(world, peace, while_, move |_| machine.slow(1));
        }
        Fault::LoseMessages => {
            machine.lose_messages(*rng.pick(&[20, 200, 600]).unwrap_or(&20));
            until(world, peace, while_, move |_| machine.lose_messages(0));
        }
        Fault::LoseDisk => machine.lose_disk(),
        Fault::FullDisk => {
            machine.full_disk();
            until(world, peace, while_, move |_| machine.free_disk());
        }
        Fault::NewMachine => {
            let about = self::machine(rng, world.profile.plain);
            world.engines.add(&endpoint(number), about);
        }
        Fault::LaunchesFail => {
            let error = EngineError::node_fault("the overlay driver fails");
            machine.fail_next_launches(1 + u32::try_from(rng.below(4)).unwrap_or(0), error);
        }
        Fault::LaunchesAreRejected => {
            let error = EngineError::rejected("the image has no layers");
            machine.fail_next_launches(1 + u32::try_from(rng.below(3)).unwrap_or(0), error);
        }
        Fault::LaunchesTimeOutThoughDone => machine.launch_succeeds_but_times_out(1),
        Fault::RegistryDown => {
            world.engines.set_registry_down(true);
            until(world, peace, while_, |world| world.engines.set_registry_down(false));
        }
        Fault::RegistryCut => {
            machine.set_registry_cut(true);
            until(world, peace, while_, move |_| machine.set_registry_cut(false));
        }
        Fault::ProcessEnds
        | Fault::OutOfMemory
        | Fault::TurnsUnhealthy
        | Fault::RemovedBehindOurBack
        | Fault::PausedBehindOurBack
        | Fault::StartedBehindOurBack => container_fault(&machine, rng, fault),
        Fault::PortTakenByAStranger => {
            let port = 8_080 + u16::try_from(rng.below(3)).unwrap_or(0);
            let name = format!("stranger-at-{port}");
            if machine.run_foreign(&name, &[(Protocol::Tcp, port)]).is_ok() {
                until(world, peace, while_, move |_| {
                    machine.remove_foreign(&name);
                });
            }
        }
        Fault::KillDaemon | Fault::KillDaemonAtAStep | Fault::SecondDaemon => {
            daemon_fault(world, peace, rng, fault, while_);
        }
        Fault::NetworkOfTheDaemonFails | Fault::PartOfTheNetworkFails => {
            let Some(alive) = world.slots[rng.below(2)].alive() else { return };
            let all = fault == Fault::NetworkOfTheDaemonFails;
            let those = (1..=world.profile.machines).filter(|_| all || rng.chance(400)).map(endpoint);
            alive.fence.cut_off(those);
            until(world, peace, while_, move |_| alive.fence.reconnect());
        }
        Fault::StoreFails
        | Fault::StoreAnswersAreLost
        | Fault::StoreWritesLate
        | Fault::StoreIsSlow
        | Fault::StoreIsAway => {
            let some = *rng.pick(&[20, 150, 500]).unwrap_or(&20);
            let way = match fault {
                Fault::StoreFails => Way { fails_before: some, ..Way::default() },
                Fault::StoreAnswersAreLost => {
                    Way { fails_after: some, fails_before: some / 4, ..Way::default() }
                }
                Fault::StoreWritesLate => Way { late: some, ..Way::default() },
                Fault::StoreIsSlow => Way { takes_ms: 0..=some * 8, ..Way::default() },
                _ => Way { fails_before: 1_000, ..Way::default() },
            };
            let number = rng.below(world.slots.len());
            *world.slots[number].way.lock().unwrap() = way;
            until(world, peace, while_, move |world| {
                *world.slots[number].way.lock().unwrap() = Way::default();
            });
        }
    }
}

fn container_fault(machine: &Machine, rng: &mut Rng, fault: Fault) {
    let all: Vec<SeenContainer> = machine.containers();
    let Some(SeenContainer { identity, state, .. }) = rng.pick(&all) else { return };
    let (identity, state): (Identity, ContainerState) = (*identity, *state);
    // A missing or stopped container cannot be harmed.
    let _ = match fault {
        Fault::ProcessEnds if state == ContainerState::Running => {
            machine.kill_container(identity, i64::from(rng.chance(700)))
        }
        Fault::OutOfMemory if state == ContainerState::Running => machine.exhaust_memory(identity),
        Fault::TurnsUnhealthy if state == ContainerState::Running => machine.set_health(identity, false),
        Fault::RemovedBehindOurBack => machine.remove_container(identity),
        Fault::PausedBehindOurBack => machine.set_paused(identity, rng.chance(500)),
        Fault::StartedBehindOurBack if state != ContainerState::Running => machine.start_container(identity),
        _ => Ok(()),
    };
}

fn daemon_fault(
    world: &Arc<World>,
    peace: &CancellationToken,
    rng: &mut Rng,
    fault: Fault,
    while_: Duration,
) {
    match fault {
        Fault::SecondDaemon => {
            // The daemon that starts last leads; the other one still believes that it does.
            let second = &world.slots[1];
            if *second.wanted.borrow() {
                world.slots[rng.below(2)].kill();
            } else {
                second.wanted.send_replace(true);
                until(world, peace, while_ * 3, |world| {
                    world.slots[1].wanted.send_replace(false);
                    world.slots[0].kill(); // it may have been deposed: its successor leads again
                });
            }
        }
        Fault::KillDaemonAtAStep => {
            if let Some(alive) = world.slots[rng.below(2)].alive() {
                alive.fence.kill_after(i64::try_from(rng.below(60)).unwrap_or(0));
            }
        }
        _ => {
            world.slots[rng.below(2)].kill();
        }
    }
}

/// Repairs everything that a person could repair.
pub fn heal(world: &World) {
    world.engines.set_registry_down(false);
    for (_, machine) in world.engines.machines() {
        machine.fail_next_launches(0, EngineError::node_fault(String::new()));
        machine.launch_succeeds_but_times_out(0);
        machine.start();
        machine.heal();
        machine.slow(1);
        machine.lose_messages(0);
        machine.free_disk();
        machine.set_registry_cut(false);
        for SeenContainer { identity, .. } in machine.containers() {
            let _ = machine.set_paused(identity, false);
        }
    }
    for slot in &world.slots {
        *slot.way.lock().unwrap() = Way::default();
        if let Some(alive) = slot.alive() {
            alive.fence.reconnect();
        }
    }
}
