//! Buffers that are used again once nobody holds them.

use std::sync::Arc;

/// Buffers kept; one more in use than this is allocated and freed.
const KEPT: usize = 6;

/// Hands out buffers that others may hold as long as they like.
#[derive(Debug, Default)]
pub(crate) struct Pool<T>(Vec<Arc<T>>);

impl<T: Default> Pool<T> {
    /// Lets `fill` write into a buffer that nobody holds any more, and shares it. It holds
    /// whatever it held before.
    pub(crate) fn fill<R>(&mut self, fill: impl FnOnce(&mut T) -> R) -> (Arc<T>, R) {
        let free = self.0.iter_mut().position(|buffer| Arc::get_mut(buffer).is_some());
        let mut buffer = free.map(|at| self.0.swap_remove(at)).unwrap_or_default();
        let result = fill(Arc::get_mut(&mut buffer).expect("nobody else holds it"));
        if self.0.len() < KEPT {
            self.0.push(Arc::clone(&buffer));
        }
        (buffer, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_it_is_free_and_never_before() {
        let mut pool = Pool::<Vec<u8>>::default();
        let (one, ()) = pool.fill(|buffer| buffer.push(1));
        let (two, ()) = pool.fill(|buffer| buffer.push(2));
        assert_eq!((one.as_slice(), two.as_slice()), (&[1][..], &[2][..]));
        let place = Arc::as_ptr(&one);
        drop(one);
        let (three, before) = pool.fill(|buffer| buffer.clone());
        assert_eq!((Arc::as_ptr(&three), before), (place, vec![1]));
    }

    #[test]
    fn what_is_held_for_ever_does_not_make_it_grow() {
        let mut pool = Pool::<Vec<u8>>::default();
        let held: Vec<_> = (0..100).map(|_| pool.fill(|_| ()).0).collect();
        assert_eq!((pool.0.len(), held.len()), (KEPT, 100));
    }
}
