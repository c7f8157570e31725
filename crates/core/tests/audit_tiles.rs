//! The log as files: what is written can be read back into the same tree, and damage is noticed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use std::collections::BTreeMap;

use keywright_core::audit::proof::{LeafNodes, Nodes, check_inclusion, prove_inclusion};
use keywright_core::audit::tile::{GrowingNodes, Kind, Tile, TileNodes, bundle};
use keywright_core::audit::{Frontier, Hash, LogError};
use proptest::prelude::*;

type Files = BTreeMap<String, Vec<u8>>;

fn leaf(index: u64) -> Vec<u8> {
    format!("leaf {index}").into_bytes()
}

fn leaf_nodes() -> impl Nodes {
    LeafNodes::new(|first, count| Ok((first..).take(count).map(|n| Hash::of_leaf(&leaf(n))).collect()))
}

fn root(size: u64) -> Hash {
    (0..size).map(|n| Hash::of_leaf(&leaf(n))).collect::<Frontier>().root()
}

/// Writes what is new when the log grows, as the broker does.
fn grow(files: &mut Files, from: u64, to: u64) {
    for tile in Tile::grown(from, to).unwrap() {
        let bytes = match tile.kind() {
            Kind::Entries => {
                let leaves: Vec<_> = tile.range().map(leaf).collect();
                bundle(leaves.iter().map(Vec::as_slice)).unwrap()
            }
            Kind::Hashes { .. } => {
                let written = files.clone();
                let tiles = TileNodes::new(from, root(from), move |tile| read(&written, tile)).unwrap();
                tile.hashes(&GrowingNodes::new(from, tiles, leaf_nodes())).unwrap()
            }
        };
        files.insert(tile.to_string(), bytes);
    }
}

fn read(files: &Files, tile: &Tile) -> Result<Vec<u8>, LogError> {
    files.get(&tile.to_string()).cloned().ok_or_else(|| LogError::Read { what: format!("no `{tile}`") })
}

/// What a stranger does who has only the files: takes the leaf hashes from the entries.
fn root_of_entries(files: &Files, size: u64) -> Hash {
    let mut tree = Frontier::new();
    for tile in Tile::grown(0, size).unwrap().into_iter().filter(|tile| tile.kind() == Kind::Entries) {
        let bytes = read(files, &tile).unwrap();
        tree.extend(tile.parse_entries(&bytes).unwrap().into_iter().map(Hash::of_leaf));
    }
    assert_eq!(tree.size(), size);
    tree.root()
}

fn root_of_leaf_tiles(files: &Files, size: u64) -> Hash {
    let mut tree = Frontier::new();
    for tile in Tile::grown(0, size).unwrap().into_iter().filter(|t| t.kind() == (Kind::Hashes { level: 0 }))
    {
        tree.extend(tile.parse_hashes(&read(files, &tile).unwrap()).unwrap());
    }
    tree.root()
}

#[test]
fn paths_are_those_of_the_specification() {
    let mut paths: Vec<String> =
        Tile::grown(0, 256 * 256 + 257).unwrap().iter().map(Tile::to_string).collect();
    assert!(paths.contains(&"tile/entries/000".to_owned()) && paths.contains(&"tile/0/256".to_owned()));
    paths.retain(|path| path.contains(".p/"));
    paths.sort();
    assert_eq!(paths, ["tile/0/257.p/1", "tile/1/001.p/1", "tile/2/000.p/1", "tile/entries/257.p/1"]);
    // The example of tlog-tiles: number 1234067.
    let far: Tile = "tile/0/x001/x234/067".parse().unwrap();
    assert_eq!((far.number(), far.width(), far.kind()), (1_234_067, 256, Kind::Hashes { level: 0 }));
    assert_eq!(far.to_string(), "tile/0/x001/x234/067");
    let edge: Tile = "tile/entries/x001/000.p/255".parse().unwrap();
    assert_eq!((edge.range(), edge.kind()), (256_000..256_255, Kind::Entries));
}

#[test]
fn paths_of_other_forms_are_refused_without_a_panic() {
    for path in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/6/000",
        "tile/63/000",
        "tile/64/000",
        "tile/200/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/00/000",
        "tile/0/0",
        "tile/0/1234",
        "tile/0/x001",
        "tile/0/001/002",
        "tile/0/000.p/0",
        "tile/0/000.p/00",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p/1/2",
        "tile/0/../000",
        "tile/data/000",
        "tile/8/0/000",
        "tile/entries/000/",
        "/tile/0/000",
        "tile/0/x018/x446/x744/x073/x709/x551/615",
        "tile/entries/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert!(matches!(path.parse::<Tile>(), Err(LogError::Path { .. })), "{path}");
    }
}

#[test]
fn tiles_rebuild_the_same_root_at_every_edge() {
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537] {
        let mut files = Files::new();
        grow(&mut files, 0, size);
        assert_eq!(root_of_entries(&files, size), root(size), "entries at {size}");
        assert_eq!(root_of_leaf_tiles(&files, size), root(size), "hashes at {size}");
    }
}

#[test]
fn growing_in_steps_writes_the_same_files_as_at_once() {
    let mut stepwise = Files::new();
    let steps = [0, 1, 2, 200, 256, 257, 300, 512, 1_000, 65_000, 65_535, 65_536, 65_537, 66_100];
    for step in steps.windows(2) {
        grow(&mut stepwise, step[0], step[1]);
    }
    let mut at_once = Files::new();
    grow(&mut at_once, 0, 66_100);
    for (path, bytes) in &at_once {
        assert_eq!(stepwise.get(path), Some(bytes), "{path}");
    }
    assert_eq!(Tile::grown(7, 7).unwrap(), []);
    assert!(Tile::grown(8, 7).is_err());
    assert!(Tile::grown(0, u64::MAX).is_err());
}

#[test]
fn a_proof_can_be_read_from_the_tiles_alone() {
    let size = 66_000;
    let mut files = Files::new();
    grow(&mut files, 0, size);
    let nodes = TileNodes::new(size, root(size), |tile| read(&files, tile)).unwrap();
    for index in [0, 255, 256, 65_535, 65_536, 65_999] {
        let proof = prove_inclusion(size, index, &nodes).unwrap();
        assert_eq!(proof, prove_inclusion(size, index, &leaf_nodes()).unwrap());
        check_inclusion(&proof, size, root(size), index, Hash::of_leaf(&leaf(index))).unwrap();
    }
    assert!(matches!(nodes.nodes(0, size, 1), Err(LogError::Outside { .. })));
    assert!(matches!(nodes.nodes(63, u64::MAX, 1), Err(LogError::Outside { .. })));
    assert_eq!(nodes.nodes(0, 3, 0).unwrap(), []);
}

/// Reads everything that a tree of this size has, tile by tile; true when each answer is right.
fn reads_right(files: &Files, size: u64) -> Result<bool, LogError> {
    let nodes = TileNodes::new(size, root(size), |tile| read(files, tile))?;
    let mut right = true;
    for tile in Tile::grown(0, size)? {
        let Kind::Hashes { level } = tile.kind() else { continue };
        let (level, first, count) = (level * 8, tile.range().start, tile.width().into());
        right &= nodes.nodes(level, first, count)? == leaf_nodes().nodes(level, first, count)?;
    }
    Ok(right)
}

#[test]
fn a_changed_tile_of_hashes_is_never_believed() {
    for size in [1, 5, 255, 256, 257, 600, 767, 66_000] {
        let mut files = Files::new();
        grow(&mut files, 0, size);
        assert_eq!(reads_right(&files, size), Ok(true));
        let hashes: Vec<String> = files.keys().filter(|path| !path.contains("entries")).cloned().collect();
        for path in hashes.iter().filter(|p| size < 1_000 || p.starts_with("tile/1") || p.ends_with("00")) {
            let mut changed = files.clone();
            let bytes = changed.get_mut(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            assert!(matches!(reads_right(&changed, size), Err(LogError::Tile { .. })), "{path} of {size}");
        }
    }
    let nothing = |_: &Tile| Err(LogError::Read { what: "no file".to_owned() });
    assert!(TileNodes::new(0, Hash::OF_NOTHING, nothing).is_ok());
    assert!(TileNodes::new(0, root(1), nothing).is_err());
}

#[test]
fn a_damaged_bundle_is_refused() {
    let tile: Tile = "tile/entries/000.p/2".parse().unwrap();
    let whole = bundle([b"one".as_slice(), b"".as_slice()]).unwrap();
    assert_eq!(whole, b"\0\x03one\0\0");
    assert_eq!(tile.parse_entries(&whole).unwrap(), [b"one".as_slice(), b"".as_slice()]);
    for cut in 0..whole.len() {
        assert!(tile.parse_entries(&whole[..cut]).is_err(), "cut at {cut}");
    }
    assert!(tile.parse_entries(&[whole, b"x".to_vec()].concat()).is_err());
    assert!(bundle([vec![0; 65_535].as_slice()]).is_ok());
    assert_eq!(bundle([vec![0; 65_536].as_slice()]), Err(LogError::EntryTooLong { len: 65_536 }));
    let hashes: Tile = "tile/0/000.p/2".parse().unwrap();
    assert!(hashes.parse_hashes(&[0; 63]).is_err() && hashes.parse_hashes(&[0; 96]).is_err());
    assert!(hashes.parse_entries(b"").is_err() && tile.parse_hashes(&[0; 64]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_growth_can_be_read_back(mut sizes in prop::collection::vec(0u64..1_500, 1..5)) {
        sizes.sort_unstable();
        let (mut files, mut from) = (Files::new(), 0);
        for size in sizes {
            grow(&mut files, from, size);
            prop_assert_eq!(root_of_entries(&files, size), root(size));
            prop_assert_eq!(root_of_leaf_tiles(&files, size), root(size));
            from = size;
        }
    }

    #[test]
    fn a_path_that_is_read_is_written_the_same(level in 0u8..6, number in 0u64..1 << 30, width in 1u16..=256) {
        let suffix = if width == 256 { String::new() } else { format!(".p/{width}") };
        let digits = format!("{number:0w$}", w = number.to_string().len().div_ceil(3) * 3);
        let groups: Vec<&str> = digits.as_bytes().chunks(3).map(|c| std::str::from_utf8(c).unwrap()).collect();
        let (last, upper) = groups.split_last().unwrap();
        let upper: String = upper.iter().map(|group| format!("x{group}/")).collect();
        let path = format!("tile/{level}/{upper}{last}{suffix}");
        match path.parse::<Tile>() {
            Ok(tile) => prop_assert_eq!((tile.to_string(), tile.number(), tile.width()), (path, number, width)),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn no_path_makes_the_parser_panic(path in "(tile/)?[0-9a-z+./-]{0,30}") {
        let _ = path.parse::<Tile>();
    }
}
