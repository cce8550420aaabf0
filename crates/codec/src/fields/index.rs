//! Where fields stand in the text, and what is known of their names without a look at it.
//!
//! Filters and hops ask for many names that a head does not hold. So each name leaves a bit in a set of 64 ([`Marks`]): most of those questions
//! end there, and the others look at a [`Mark`] for each field before they compare any text. Names that tell a hop how to treat
//! its own connection have [`Traits`], so that none of them is sought by name when a head passes.

/// A name's length, its first byte and its last. Names whose marks differ are not the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(u32);

impl Mark {
    #[inline]
    pub(crate) const fn of(name: &[u8]) -> Self {
        let length = name.len();
        if length == 0 {
            return Mark(0);
        }
        // Valid names are no longer than `MAX_NAME`, which 16 bits hold.
        Mark(length as u16 as u32 | (name[0] as u32) << 16 | (name[length - 1] as u32) << 24)
    }

    /// How long the name is, if it is a valid one.
    #[inline]
    const fn length(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    /// One bit of 64. The factor is one by which no usual name shares its bit with one that has [`Traits`].
    #[inline]
    const fn bit(self) -> u64 {
        1 << (self.0.wrapping_mul(0x5b33_a9c7) >> 26)
    }

    /// `false`: surely not.
    #[inline]
    pub(crate) const fn is_among(self, marks: Marks) -> bool {
        self.bit() & marks.0 != 0
    }
}

/// A set that holds no mark without saying so, but may say so of more: 64 bits.
#[derive(Clone, Copy, Default)]
pub(crate) struct Marks(u64);

impl Marks {
    pub(crate) const ALL: Marks = Marks(u64::MAX);
    /// Of the names that have [`Traits`].
    pub(crate) const WITH_TRAITS: Marks = {
        let (mut marks, mut at) = (Marks(0), 0);
        while at < Traits::NAMES.len() {
            marks = marks.and(Mark::of(Traits::NAMES[at].0));
            at += 1;
        }
        marks
    };

    #[inline]
    const fn and(self, mark: Mark) -> Marks {
        Marks(self.0 | mark.bit())
    }
}

/// What a field is to a hop, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traits(u8);

impl Traits {
    pub(crate) const NONE: Traits = Traits(0);
    /// No hop may put it into a table of HTTP/2's header compression.
    pub(super) const SECRET: Traits = Traits(1);
    /// Its text is a whole line of HTTP/1. The bit's value is the length of what stands between name and value.
    pub(super) const LINE: Traits = Traits(Self::BETWEEN.len() as u8);
    /// `connection`, `keep-alive`, `proxy-connection`, `transfer-encoding`: never passed on.
    pub(crate) const ONE_HOP: Traits = Traits(4);
    pub(crate) const CONTENT_LENGTH: Traits = Traits(8);
    pub(crate) const UPGRADE: Traits = Traits(16);
    pub(crate) const TE: Traits = Traits(32);
    pub(crate) const HOST: Traits = Traits(64);
    pub(crate) const EXPECT: Traits = Traits(128);
    /// All that RFC 9110 §7.6.1 and HTTP/1 leave between two hops.
    pub(super) const HOP_BY_HOP: Traits = Self::ONE_HOP.and(Self::TE).and(Self::UPGRADE);

    /// In a line of HTTP/1, between name and value.
    pub(super) const BETWEEN: &[u8] = b": ";
    /// In a line of HTTP/1, behind the value.
    pub(super) const END: &[u8] = b"\r\n";

    pub(crate) const fn and(self, other: Traits) -> Traits {
        Traits(self.0 | other.0)
    }

    /// Whether there is one of `others` among these.
    #[inline]
    pub(crate) const fn has(self, others: Traits) -> bool {
        self.0 & others.0 != 0
    }

    /// The names that say something by themselves. Whoever reads a head relies on it that [`Marks::WITH_TRAITS`] has them all.
    const NAMES: [(&'static [u8], Traits); 9] = [
        (b"host", Self::HOST),
        (b"content-length", Self::CONTENT_LENGTH),
        (b"transfer-encoding", Self::ONE_HOP),
        (b"connection", Self::ONE_HOP),
        (b"keep-alive", Self::ONE_HOP),
        (b"proxy-connection", Self::ONE_HOP),
        (b"upgrade", Self::UPGRADE),
        (b"te", Self::TE),
        (b"expect", Self::EXPECT),
    ];

    /// What a name says by itself.
    pub(crate) fn of(name: &[u8]) -> Traits {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map_or(Self::NONE, |(_, traits)| *traits)
    }
}

/// Where a field stands in the text: its name, what a line has between, its value.
#[derive(Clone, Copy)]
pub(super) struct Field {
    at: u32,
    value: u32,
    pub(super) mark: Mark,
    pub(super) traits: Traits,
}

impl Field {
    /// Of a text that begins at `at`, for a name that is known to be valid.
    #[inline]
    pub(super) fn new(at: usize, name: &[u8], value: usize, traits: Traits) -> Self {
        let mark = Mark::of(name);
        Field {
            at: offset(at),
            value: offset(value),
            mark,
            traits: if mark.is_among(Marks::WITH_TRAITS) {
                traits.and(Traits::of(name))
            } else {
                traits
            },
        }
    }

    #[inline]
    pub(super) fn name(self, text: &[u8]) -> &[u8] {
        let at = self.at as usize;
        &text[at..at + self.mark.length()]
    }

    #[inline]
    pub(super) fn value(self, text: &[u8]) -> &[u8] {
        let at = self.value_at();
        &text[at..at + self.value as usize]
    }

    /// Where the value stands in the text.
    #[inline]
    pub(super) fn value_at(self) -> usize {
        self.at as usize + self.mark.length() + usize::from(self.traits.0 & Traits::LINE.0)
    }

    /// How long the value is.
    pub(super) fn value_length(self) -> usize {
        self.value as usize
    }

    #[inline]
    pub(super) fn is_named(self, text: &[u8], mark: Mark, name: &[u8]) -> bool {
        self.mark == mark && self.name(text) == name
    }

    /// Where the field's line begins and ends, if its text is one.
    #[inline]
    pub(super) fn line(self) -> Option<(usize, usize)> {
        const AROUND: usize = Traits::BETWEEN.len() + Traits::END.len();
        let at = self.at as usize;
        let end = at + self.mark.length() + self.value as usize + AROUND;
        self.traits.has(Traits::LINE).then_some((at, end))
    }
}

/// The fields of a head, whose text is elsewhere.
#[derive(Clone, Default)]
pub(crate) struct Fields {
    pub(super) list: Vec<Field>,
    /// Of all fields there ever were since the text was empty.
    seen: Marks,
    /// Of all those fields.
    traits: Traits,
}

impl Fields {
    pub(super) fn with_capacity(fields: usize) -> Self {
        Fields {
            list: Vec::with_capacity(fields),
            ..Fields::default()
        }
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.seen = Marks::default();
        self.traits = Traits::NONE;
    }

    #[inline]
    pub(super) fn push(&mut self, field: Field) {
        self.seen = self.seen.and(field.mark);
        self.traits = self.traits.and(field.traits);
        self.list.push(field);
    }

    /// Adds the line at `at` of a valid name of that mark, with `behind` bytes between the colon and the line end. They are taken to be a space and
    /// the value; [`super::Headers::end_lines`] is told where they are not.
    #[inline]
    pub(crate) fn push_line(&mut self, at: usize, behind: usize, mark: Mark, traits: Traits) {
        self.seen = self.seen.and(mark);
        if traits != Traits::NONE {
            self.traits = self.traits.and(traits);
        }
        // All offsets were looked at when the lines were taken.
        self.list.push(Field {
            at: at as u32,
            value: (behind as u32).wrapping_sub(1),
            mark,
            traits: traits.and(Traits::LINE),
        });
    }

    /// Makes each field that `push_line` took for a tidy line one, with a line of its own behind the text where need be.
    pub(super) fn tidy(&mut self, text: &mut Vec<u8>) {
        for field in &mut self.list {
            let name_end = field.at as usize + field.mark.length();
            let behind = field.value.wrapping_add(1) as usize;
            let raw = &text[name_end + 1..name_end + 1 + behind];
            let value = super::trim(raw).len();
            if raw.first() == Some(&b' ') && raw.len() == value + 1 {
                continue;
            }
            let from = name_end + 1 + behind - super::trim_start(raw).len();
            let at = text.len();
            text.extend_from_within(field.at as usize..name_end);
            text.extend_from_slice(Traits::BETWEEN);
            text.extend_from_within(from..from + value);
            text.extend_from_slice(Traits::END);
            (field.at, field.value) = (offset(at), offset(value));
        }
    }

    /// Whether there may be a field of that mark: surely not, if not.
    #[inline]
    pub(super) fn may_hold(&self, mark: Mark) -> bool {
        mark.is_among(self.seen)
    }

    /// Whether there is a field with one of these traits.
    #[inline]
    pub(super) fn have(&self, traits: Traits) -> bool {
        self.traits.has(traits) && self.list.iter().any(|field| field.traits.has(traits))
    }
}

/// Heads are limited to far less than 4 GB before a field is put in.
#[inline]
pub(super) fn offset(n: usize) -> u32 {
    u32::try_from(n).expect("heads are smaller than 4 GB")
}
