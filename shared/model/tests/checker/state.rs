//! One state of the cluster, and what can happen in it.

use std::{fmt, sync::OnceLock};

use backout_model::object::Image;
use serde_json::json;

use super::{
    canon,
    truth::{Broken, Pending, Truth, bad_object},
    world::{FOREVER, World, data, failed_job, key, seconds},
};

/// Objects that deployers write: one that is there, and one that is not.
const OBJECTS: [&str; 2] = ["a", "b"];

/// How often things may still happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Calls of the webhook.
    pub(crate) calls: u8,
    /// Of those, with a stale object.
    pub(crate) stale: u8,
    /// Of those, by a replica that knows the Release already.
    pub(crate) knowing: u8,
    /// Writes and deletions by outsiders.
    pub(crate) outside: u8,
    /// Reviews that no API server sent.
    pub(crate) forged: u8,
    /// Deaths of the watcher.
    pub(crate) crashes: u8,
    /// Times that something happens while the watcher makes its changes.
    pub(crate) races: u8,
    /// Times in which the object that tells of a failure cannot be read.
    pub(crate) blind: u8,
}

/// What a deployer wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The object with other content than before.
    Write(usize),
    Delete(usize),
    /// A job that fails.
    Fail,
}

/// What can happen, but for the watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The API server asks the webhook, which stores a record.
    Call { wish: Wish, stale: bool, knows: bool },
    /// The API server stores the oldest, or another, of the writes that were admitted, if it still can.
    Commit(usize),
    /// Somebody else writes into an object.
    Outside(usize),
    /// Somebody else deletes an object.
    OutsideDelete(usize),
    /// A review that no API server sent.
    Forge(Forged),
    /// The object that tells of a failure can be read, or cannot.
    Blind(bool),
    /// Another watcher, which has seen the same, looks.
    OtherWatcher,
}

/// See [`Event::Forge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forged {
    /// An update that found something else.
    Update,
    /// One that did not even know the object's pointer.
    Unaware,
    /// The creation of what is there, in a chain that ends there.
    Create,
}

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Event(Event),
    /// Seconds pass, and the watcher looks. It dies after so many changes; or before one of them something else happens.
    Look {
        after: u8,
        dies: Option<usize>,
        raced: Option<(usize, Event)>,
    },
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event) => write!(f, "{event:?}"),
            Self::Look { after, dies, raced } => {
                write!(f, "{after} s pass, the watcher looks")?;
                if let Some(changes) = dies {
                    write!(f, " and dies after {changes} changes")?;
                }
                match raced {
                    Some((index, event)) => write!(f, "; before its change {index}: {event:?}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// A state. It is told from others by its digest.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) world: World,
    pub(crate) truth: Truth,
    pub(crate) budget: Budget,
    /// So many steps are looked at from here; no part of the digest, for the first way to a state is the shortest.
    pub(crate) depth: usize,
    digest: u64,
    /// What is broken here, or would be if nothing happened any more.
    pub(crate) judged: OnceLock<Broken>,
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl std::hash::Hash for State {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = &self.world.status;
        write!(f, "revision {} {:?} {:?}", status.revision, status.phase, self.truth.broken)
    }
}

impl State {
    pub(crate) fn new(world: World, budget: Budget) -> Self {
        Self { world, truth: Truth::default(), budget, depth: 0, digest: 0, judged: OnceLock::new() }.sealed()
    }

    /// The same, of which this is the truth.
    pub(crate) fn knowing(mut self, truth: Truth) -> Self {
        self.truth = truth;
        self.sealed()
    }

    fn sealed(mut self) -> Self {
        self.truth.tidy(&self.world);
        self.world.notices.clear();
        self.world.phases.clear();
        self.world.written.clear();
        self.digest = canon::digest(&self);
        self.judged = OnceLock::new();
        self
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// What others than the watcher can do.
    pub(crate) fn events(&self) -> Vec<Event> {
        let Budget { calls, stale, knowing, outside, forged, blind, .. } = self.budget;
        let is_there = |index: &usize| self.world.objects.contains_key(&key("ConfigMap", OBJECTS[*index]));
        let mut events: Vec<_> = (0..self.truth.pending.len()).map(Event::Commit).collect();
        if calls > 0 {
            let mut wishes: Vec<_> = (0..OBJECTS.len()).map(Wish::Write).collect();
            wishes.extend((0..OBJECTS.len()).filter(is_there).map(Wish::Delete));
            wishes.extend((!self.world.objects.contains_key(&bad_object())).then_some(Wish::Fail));
            for wish in wishes {
                events.push(Event::Call { wish, stale: false, knows: false });
                if knowing > 0 {
                    events.push(Event::Call { wish, stale: false, knows: true });
                }
                if stale > 0 {
                    events.push(Event::Call { wish, stale: true, knows: false });
                }
            }
        }
        if outside > 0 {
            events.extend((0..OBJECTS.len()).filter(is_there).map(Event::Outside));
            events.extend((0..1).filter(is_there).map(Event::OutsideDelete));
        }
        if forged > 0 && is_there(&0) {
            events.extend([Forged::Update, Forged::Unaware, Forged::Create].map(Event::Forge));
        }
        if !self.world.unreadable.is_empty() {
            events.push(Event::Blind(false));
        } else if blind > 0 {
            events.push(Event::Blind(true));
        }
        events
    }

    /// The state after `action`; nothing if it cannot happen.
    pub(crate) fn after(&self, action: Action) -> Option<Self> {
        let mut state = self.clone();
        state.depth = state.depth.saturating_sub(1);
        match action {
            Action::Event(event) => state.happen(event)?,
            Action::Look { after, dies, raced } => state.look(i64::from(after), dies, raced)?,
        }
        Some(state.sealed())
    }

    fn happen(&mut self, event: Event) -> Option<()> {
        let Self { world, truth, budget, .. } = self;
        match event {
            Event::Call { wish, stale, knows } => {
                budget.calls -= 1;
                budget.stale -= u8::from(stale);
                budget.knowing -= u8::from(knows);
                world.knows = knows;
                let (kind, name, content) = match wish {
                    Wish::Write(index) => {
                        ("ConfigMap", OBJECTS[index], data(&format!("call {}", budget.calls)))
                    }
                    Wish::Delete(index) => ("ConfigMap", OBJECTS[index], None),
                    Wish::Fail => ("Job", "migrate", failed_job()),
                };
                let key = key(kind, name);
                let now = world.objects.get(&key).cloned();
                if stale {
                    // What a cache of the API server still shows.
                    let versions = world.history.iter().filter(|((of, _), _)| *of == key);
                    let old = versions.rev().nth(usize::from(now.is_some()))?.1.clone();
                    world.objects.insert(key.clone(), old.as_ref().clone());
                }
                if content.is_none() && !world.objects.contains_key(&key) {
                    // The server says so before it asks anybody.
                    return None;
                }
                let (record, after) = world.admit(kind, name, content);
                if stale {
                    world.objects.remove(&key);
                    world.objects.extend(now.map(|now| (key, now)));
                }
                truth.pending.push(Pending { record: record.name, admitted: world.now, after });
            }
            Event::Commit(index) => {
                // With the time that has passed it may be too late for it.
                truth.pending.get(index)?;
                truth.commit(world, index);
            }
            Event::Outside(index) => {
                world.objects.get(&key("ConfigMap", OBJECTS[index]))?;
                budget.outside -= 1;
                world.outside("ConfigMap", OBJECTS[index], |it| {
                    it["metadata"]["annotations"] = json!({"seen": "yes"});
                });
            }
            Event::OutsideDelete(index) => {
                world.objects.get(&key("ConfigMap", OBJECTS[index]))?;
                budget.outside -= 1;
                truth.misses(world, &key("ConfigMap", OBJECTS[index]));
                world.outside_delete("ConfigMap", OBJECTS[index]);
            }
            Event::Forge(forged) => {
                budget.forged -= 1;
                let live = world.objects.get(&key("ConfigMap", OBJECTS[0]))?;
                let (uid, version) =
                    (Image(live).uid()?.to_owned(), Image(live).resource_version()?.to_owned());
                let pointer = Image(live).undo();
                let undo = match forged {
                    Forged::Update => pointer,
                    Forged::Unaware => None,
                    Forged::Create => Some(world.forge(OBJECTS[0], None, None)),
                };
                world.forge(OBJECTS[0], Some((&uid, &version)), undo.as_ref());
            }
            Event::Blind(blind) => {
                budget.blind -= u8::from(blind);
                world.unreadable.clear();
                world.unreadable.extend(blind.then(bad_object));
            }
            Event::OtherWatcher => self.look(0, None, None)?,
        }
        Some(())
    }

    fn look(&mut self, after: i64, dies: Option<usize>, raced: Option<(usize, Event)>) -> Option<()> {
        self.world.now += seconds(after);
        self.truth.tidy(&self.world);
        let look = self.world.decide();
        let hidden = self.world.unreadable.clone();
        let changes = look.changes();
        if dies.is_some_and(|dies| dies >= changes) || raced.is_some_and(|(index, _)| index >= changes) {
            return None;
        }
        self.budget.crashes -= u8::from(dies.is_some());
        self.budget.races -= u8::from(raced.is_some());
        for index in 0..changes.min(dies.unwrap_or(FOREVER)) {
            if let Some((_, event)) = raced.filter(|(at, _)| *at == index) {
                self.happen(event)?;
            }
            let (old, written) = (self.world.status.clone(), self.world.written.len());
            let mut truth = self.truth.clone();
            if let Some(effect) = look.effect(index) {
                truth.expects(&self.world, effect);
            }
            let conflicts = self.world.conflicts;
            let goes_on = self.world.change(&look, index);
            if self.world.conflicts == conflicts {
                // What the server refused has done no harm.
                self.truth = truth;
            }
            if look.effect(index).is_none() && goes_on {
                self.truth.expects_status(&self.world, &old, &hidden);
            }
            debug_assert!(self.world.written.len() <= written + 1);
            if !goes_on {
                break;
            }
        }
        if dies.is_some() {
            self.world.restart();
        }
        Some(())
    }

    /// The watcher dies.
    pub(crate) fn killed(&self, dies: usize) -> Option<Self> {
        let mut state = self.clone();
        state.budget.crashes += 1;
        state.after(Action::Look { after: 0, dies: Some(dies), raced: None })
    }

    /// Nothing happens any more but that the watcher looks, and time passes until it wants to look again: the state then,
    /// how long that took, and whether it waits for something to happen.
    pub(crate) fn alone(&self) -> (Self, i64, bool) {
        use backout_model::protocol::Wake;
        let mut state = self.clone();
        let look = state.world.decide();
        let wake = look.decision.wake;
        for index in 0..look.changes() {
            let old = state.world.status.clone();
            if let Some(effect) = look.effect(index) {
                state.truth.expects(&state.world, effect);
            }
            state.world.change(&look, index);
            if look.effect(index).is_none() {
                state.truth.expects_status(&state.world, &old, &self.world.unreadable);
            }
        }
        let pause = match wake {
            Wake::After(pause) if pause.is_zero() => 0,
            // It may be busy with others.
            Wake::After(pause) => i64::try_from(pause.as_secs()).unwrap().max(3),
            Wake::OnChange => 0,
        };
        state.world.now += seconds(pause);
        (state.sealed(), pause, wake == Wake::OnChange)
    }
}
