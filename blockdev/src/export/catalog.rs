//! What is exported: the names that a client may ask for, and what it learns of each.

/// An export's place in its [`Catalog`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ExportId(pub u32);

/// One volume as clients see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Export {
    /// Its name: UTF-8, no NUL, at most 4096 bytes (NBD protocol, "Values": strings).
    pub name: String,
    /// For humans; may be empty. The same bounds.
    pub description: String,
    /// Its size in blocks of 4096 bytes.
    pub blocks: u64,
    /// Whether writes are refused.
    pub read_only: bool,
}

impl Export {
    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blocks
            .checked_mul(u64::from(seawall_wal::names::BLOCK_BYTES))
            .expect("a volume is below 2^64 bytes")
    }
}

/// Everything that is exported here.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Catalog {
    exports: Vec<Export>,
    default: Option<ExportId>,
}

/// Bytes of a name or description at the most (NBD protocol, "Values": strings).
pub const NAME_BYTES_MAX: usize = 4096;

impl Catalog {
    /// These exports; the empty name means the one at `default`.
    ///
    /// Names and their bounds are the operator's business and checked before: they are asserted here.
    #[must_use]
    pub fn new(exports: Vec<Export>, default: Option<ExportId>) -> Catalog {
        for (i, export) in exports.iter().enumerate() {
            for text in [&export.name, &export.description] {
                assert!(
                    text.len() <= NAME_BYTES_MAX && !text.contains('\0'),
                    "texts of an export are bounded"
                );
            }
            assert!(
                exports[..i].iter().all(|other| other.name != export.name),
                "names of exports are unique"
            );
            assert!(export.bytes() <= i64::MAX as u64, "clients count bytes in signed 64-bit numbers");
        }
        let catalog = Catalog { exports, default };
        assert!(default.is_none_or(|id| catalog.get(id).is_some()), "the default export is in the catalog");
        catalog
    }

    /// The export that a client means by `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<ExportId> {
        let named = || self.iter().find(|(_, export)| export.name == name).map(|(id, _)| id);
        if name.is_empty() { self.default.or_else(named) } else { named() }
    }

    /// The export with this id, if there is one.
    #[must_use]
    pub fn get(&self, id: ExportId) -> Option<&Export> {
        self.exports.get(usize::try_from(id.0).ok()?)
    }

    /// All exports, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (ExportId, &Export)> {
        (0..).map(ExportId).zip(&self.exports)
    }
}
