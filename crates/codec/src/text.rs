//! Text that is shared, not copied.
//!
//! Each request has two of them, a path and an authority, and nearly all live as long as the request. So a thread keeps the buffers that are
//! given back, and the texts of its next request go there: no request asks the allocator for room.

use std::cell::RefCell;
use std::rc::Rc;

/// Buffers that a thread keeps.
const KEEP: usize = 64;
/// Bytes of a buffer that is kept, at most.
const KEPT: usize = 1024;
/// Bytes of a buffer, at least: nearly all texts find room in any that is kept.
const ROOM: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<Rc<String>>> = const { RefCell::new(Vec::new()) };
}

/// Text that is shared, not copied: path, authority.
#[derive(Clone, Default)]
pub struct Text(
    /// `None` if it is empty.
    Option<Rc<String>>,
);

impl Text {
    /// `None` if the bytes are not UTF-8.
    pub fn from_utf8(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok().map(Text::from)
    }

    #[inline]
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", |text| text.as_str())
    }

    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }
}

impl Drop for Text {
    #[inline]
    fn drop(&mut self) {
        if let Some(buffer) = self.0.take()
            && Rc::strong_count(&buffer) == 1
        {
            keep(buffer);
        }
    }
}

fn keep(buffer: Rc<String>) {
    if buffer.capacity() > KEPT {
        return;
    }
    // While a thread ends, nothing is kept any more.
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < KEEP {
            spare.push(buffer);
        }
    });
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        if text.is_empty() {
            return Text(None);
        }
        let kept = SPARE.try_with(|spare| spare.borrow_mut().pop());
        if let Ok(Some(mut buffer)) = kept
            && let Some(own) = Rc::get_mut(&mut buffer)
        {
            own.clear();
            own.push_str(text);
            return Text(Some(buffer));
        }
        let mut own = String::with_capacity(text.len().max(ROOM));
        own.push_str(text);
        Text(Some(Rc::new(own)))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text((!text.is_empty()).then(|| Rc::new(text)))
    }
}

impl std::ops::Deref for Text {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Rc::ptr_eq(one, other) || one == other,
            _ => self.as_str() == other.as_str(),
        }
    }
}

impl Eq for Text {}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_equal_by_what_they_say() {
        assert_eq!(Text::default(), Text::from(""));
        assert_eq!(Text::from("a".to_owned()), Text::from("a"));
        assert_ne!(Text::from("a"), Text::from("b"));
        assert_eq!(Text::from_utf8(b"a\xff"), None);
    }

    #[test]
    fn a_buffer_is_used_again_when_nobody_reads_it_any_more() {
        let first = Text::from("/a");
        let again = first.clone();
        let place = first.as_bytes().as_ptr();
        drop(first);
        let other = Text::from("/b");
        assert_eq!((&*again, &*other), ("/a", "/b"));
        drop(again);
        assert_eq!(Text::from("/c").as_bytes().as_ptr(), place);
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let long = "x".repeat(KEPT + 1);
        drop(Text::from(long.as_str()));
        let many: Vec<Text> = (0..2 * KEEP).map(|_| Text::from("/a")).collect();
        drop(many);
        let (kept, longest) = SPARE.with_borrow(|spare| {
            let longest = spare.iter().map(|buffer| buffer.capacity()).max();
            (spare.len(), longest)
        });
        assert_eq!(kept, KEEP);
        assert!(longest <= Some(KEPT));
    }
}
