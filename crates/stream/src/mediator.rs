//! Typed actions between parts that do not know each other.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::{Closed, Overflow, Receiver, StreamVectorContainer, handoff};

/// Something that one part wants others to know, or to answer.
pub trait Action: Send + Sync + 'static {
    /// What a listener may answer; `()` where there is nothing to be said.
    type Reply: Send + 'static;
}

/// A part that takes an action. Closures do too.
pub trait ActionListener<A: Action>: Send + Sync + 'static {
    /// Takes the action on the thread of whoever sent it; no lock is held. It may send, listen and be removed meanwhile.
    fn on_action(&self, action: &A) -> A::Reply;
}

impl<A: Action, F: Fn(&A) -> A::Reply + Send + Sync + 'static> ActionListener<A> for F {
    fn on_action(&self, action: &A) -> A::Reply {
        self(action)
    }
}

/// Delivers each action to all who listen for its type, in the order in which they began to. Clones are the same mediator.
///
/// ```
/// use lllsi_stream::{Action, Mediator};
///
/// struct Zoom(f32);
/// impl Action for Zoom {
///     type Reply = ();
/// }
/// struct HowLarge;
/// impl Action for HowLarge {
///     type Reply = (u32, u32);
/// }
///
/// let mediator = Mediator::new();
/// let _window = mediator.listen(|zoom: &Zoom| println!("{} times as large", zoom.0));
/// let picture = mediator.listen(|_: &HowLarge| (1280, 720));
/// assert_eq!(mediator.send(&Zoom(2.0)), 1);
/// assert_eq!(mediator.request(&HowLarge), Some((1280, 720)));
/// drop(picture);
/// assert_eq!(mediator.request(&HowLarge), None);
/// ```
#[derive(Clone, Default)]
pub struct Mediator(Arc<Mutex<Listeners>>);

#[derive(Default)]
struct Listeners {
    by_action: HashMap<TypeId, Vec<Entry>>,
    next: u64,
}

struct Entry {
    number: u64,
    /// An `Arc<dyn ActionListener<A>>` of the action by which it is found.
    listener: Box<dyn Any + Send + Sync>,
}

impl Mediator {
    /// One to whom nobody listens yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        // No code that can panic runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens until the answer is dropped. What was sent before that may still be under way on another thread then.
    pub fn listen<A: Action>(&self, listener: impl ActionListener<A>) -> Listening {
        let listener: Arc<dyn ActionListener<A>> = Arc::new(listener);
        let mut listeners = self.lock();
        let number = listeners.next;
        listeners.next += 1;
        let entry = Entry { number, listener: Box::new(listener) };
        listeners.by_action.entry(TypeId::of::<A>()).or_default().push(entry);
        Listening { mediator: Arc::downgrade(&self.0), action: TypeId::of::<A>(), number }
    }

    /// Listens on another thread: actions wait there, `capacity` of them, under the rule for those over it.
    ///
    /// [`Overflow::Block`] makes whoever sends wait for whoever receives.
    pub fn queue<A: Action<Reply = ()> + Clone>(
        &self,
        capacity: usize,
        overflow: Overflow,
    ) -> (Listening, Receiver<StreamVectorContainer<A>>) {
        let (sender, receiver) = handoff(StreamVectorContainer::new(capacity, overflow));
        let listening = self.listen(move |action: &A| {
            // Whoever does not receive any more is about to stop listening.
            if let Err(Closed(_)) = sender.send(action.clone()) {}
        });
        (listening, receiver)
    }

    /// Sends an action to all who listen for it; how many there were.
    pub fn send<A: Action<Reply = ()>>(&self, action: &A) -> usize {
        let listeners = self.listeners::<A>();
        listeners.iter().for_each(|listener| listener.on_action(action));
        listeners.len()
    }

    /// Asks the one who has listened longest; `None` if nobody does.
    pub fn request<A: Action>(&self, action: &A) -> Option<A::Reply> {
        self.listeners::<A>().first().map(|listener| listener.on_action(action))
    }

    /// Asks all; their answers, in the order in which they began to listen.
    pub fn request_all<A: Action>(&self, action: &A) -> Vec<A::Reply> {
        self.listeners::<A>().iter().map(|listener| listener.on_action(action)).collect()
    }

    /// Who listens at this moment: they are called after the lock is given back.
    fn listeners<A: Action>(&self) -> Vec<Arc<dyn ActionListener<A>>> {
        let listeners = self.lock();
        let entries = listeners.by_action.get(&TypeId::of::<A>());
        let of_action =
            |entry: &Entry| entry.listener.downcast_ref::<Arc<dyn ActionListener<A>>>().cloned();
        entries.into_iter().flatten().filter_map(of_action).collect()
    }
}

/// Ends what [`Mediator::listen`] began, when it is dropped.
#[must_use = "whoever drops it does not listen any more"]
pub struct Listening {
    mediator: Weak<Mutex<Listeners>>,
    action: TypeId,
    number: u64,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let Some(mediator) = self.mediator.upgrade() else { return };
        let mut listeners = mediator.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entries) = listeners.by_action.get_mut(&self.action) else { return };
        let at = entries.iter().position(|entry| entry.number == self.number);
        let removed = at.map(|at| entries.remove(at));
        drop(listeners);
        // A listener may do anything when it is dropped, but not under the lock.
        drop(removed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Clone)]
    struct Tick(usize);
    impl Action for Tick {
        type Reply = ();
    }

    #[test]
    fn a_listener_may_listen_send_and_be_removed_while_it_runs() {
        let (mediator, heard) = (Mediator::new(), Arc::new(AtomicUsize::new(0)));
        let own = Arc::new(Mutex::new(None));
        let (inner, count, me) = (mediator.clone(), heard.clone(), own.clone());
        let listening = mediator.listen(move |tick: &Tick| {
            count.fetch_add(1, Ordering::SeqCst);
            if tick.0 > 0 {
                drop(me.lock().unwrap().take());
                let _another = inner.listen(|_: &Tick| {});
                inner.send(&Tick(tick.0 - 1));
            }
        });
        *own.lock().unwrap() = Some(listening);
        assert_eq!(mediator.send(&Tick(3)), 1);
        assert_eq!(heard.load(Ordering::SeqCst), 1, "it had removed itself");
        assert_eq!(mediator.send(&Tick(0)), 0);
    }

    #[test]
    fn listeners_may_go_while_actions_are_under_way() {
        let mediator = Mediator::new();
        let sender = mediator.clone();
        let thread =
            std::thread::spawn(move || (0..20_000).map(|n| sender.send(&Tick(n))).sum::<usize>());
        for _ in 0..2_000 {
            drop(mediator.listen(|_: &Tick| {}));
        }
        thread.join().unwrap();
    }

    #[test]
    fn actions_wait_for_another_thread_in_their_order() {
        let mediator = Mediator::new();
        let (listening, receiver) = mediator.queue::<Tick>(100, Overflow::DropOldest);
        for n in 0..150 {
            assert_eq!(mediator.send(&Tick(n)), 1);
        }
        drop(listening);
        let received: Vec<_> = receiver.iter().map(|tick| tick.0).collect();
        assert_eq!(received, (50..150).collect::<Vec<_>>());
    }
}
