//! The tree against RFC 6962: the reference's own vectors, and proofs over trees of every small size.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use keywright_core::audit::proof::{
    LeafNodes, check_consistency, check_inclusion, prove_consistency, prove_inclusion,
};
use keywright_core::audit::{Frontier, Hash, LogError};
use proptest::prelude::*;

/// The eight leaves of the reference implementation of RFC 6962.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

/// The roots over the first 1 to 8 of them.
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn reference_leaves() -> Vec<Hash> {
    LEAVES.iter().map(|leaf| Hash::of_leaf(&hex::decode(leaf).unwrap())).collect()
}

fn numbered_leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| Hash::of_leaf(&n.to_be_bytes())).collect()
}

fn nodes(leaves: &[Hash]) -> LeafNodes<impl Fn(u64, usize) -> Result<Vec<Hash>, LogError>> {
    LeafNodes::new(move |first, count| {
        let from = usize::try_from(first).unwrap();
        Ok(leaves.get(from..from + count).unwrap_or_default().to_vec())
    })
}

fn root(leaves: &[Hash]) -> Hash {
    leaves.iter().copied().collect::<Frontier>().root()
}

/// Section 2.1 word for word: split at the largest power of two below the size.
fn root_by_definition(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::OF_NOTHING,
        [leaf] => *leaf,
        _ => {
            let split = 1 << (leaves.len() - 1).ilog2();
            Hash::of_pair(root_by_definition(&leaves[..split]), root_by_definition(&leaves[split..]))
        }
    }
}

#[test]
fn an_empty_tree_has_the_hash_of_nothing() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Frontier::new().root().to_string(), empty);
}

#[test]
fn the_reference_vectors_of_rfc_6962_hold() {
    let mut tree = Frontier::new();
    for (leaf, expected) in reference_leaves().into_iter().zip(ROOTS) {
        tree.push(leaf);
        assert_eq!(tree.root().to_string(), expected, "at size {}", tree.size());
    }
}

#[test]
fn the_reference_proofs_of_rfc_6962_hold() {
    let leaves = reference_leaves();
    let path: Vec<String> =
        prove_inclusion(8, 5, &nodes(&leaves)).unwrap().iter().map(Hash::to_string).collect();
    assert_eq!(
        path,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
    let path: Vec<String> =
        prove_consistency(7, 3, &nodes(&leaves)).unwrap().iter().map(Hash::to_string).collect();
    assert_eq!(path.len(), 4);
    assert_eq!(path[0], "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7");
    assert_eq!(path[1], "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7");
    assert_eq!(path[2], "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
}

#[test]
fn a_tree_can_be_taken_up_where_it_was_left() {
    let leaves = numbered_leaves(300);
    for cut in [0, 1, 2, 3, 127, 128, 255, 256, 257, 300] {
        let before: Frontier = leaves[..cut].iter().copied().collect();
        let mut after = Frontier::resume(before.size(), before.edge().to_vec()).unwrap();
        after.extend(leaves[cut..].iter().copied());
        assert_eq!(after.root(), root(&leaves), "cut at {cut}");
    }
    let one_too_few = Frontier::resume(3, vec![leaves[0]]);
    assert_eq!(one_too_few.unwrap_err(), LogError::Frontier { size: 3, expected: 2, found: 1 });
    assert!(Frontier::resume(u64::MAX, Vec::new()).is_err());
}

#[test]
fn every_proof_of_every_small_tree_holds_for_its_own_statement_only() {
    let leaves = numbered_leaves(40);
    for size in 1..=40u64 {
        let now = root(&leaves[..usize::try_from(size).unwrap()]);
        for index in 0..size {
            let proof = prove_inclusion(size, index, &nodes(&leaves)).unwrap();
            let leaf = leaves[usize::try_from(index).unwrap()];
            assert_eq!(check_inclusion(&proof, size, now, index, leaf), Ok(()));
            let neighbour = (index + 1) % size;
            if neighbour != index {
                assert!(check_inclusion(&proof, size, now, neighbour, leaf).is_err());
            }
        }
        for older in 0..=size {
            let then = root(&leaves[..usize::try_from(older).unwrap()]);
            let proof = prove_consistency(size, older, &nodes(&leaves)).unwrap();
            assert_eq!(check_consistency(&proof, size, now, older, then), Ok(()), "{older} in {size}");
            let wrong = Hash::of_leaf(b"another tree");
            assert!(check_consistency(&proof, size, now, older, wrong).is_err(), "{older} in {size}");
            assert!(check_consistency(&proof, size, wrong, older, then).is_err() || older == 0);
        }
    }
}

#[test]
fn nonsense_is_refused_without_a_panic() {
    let leaves = numbered_leaves(4);
    let now = root(&leaves);
    assert_eq!(prove_inclusion(4, 4, &nodes(&leaves)).unwrap_err(), LogError::Outside { index: 4, size: 4 });
    assert_eq!(prove_consistency(3, 4, &nodes(&leaves)).unwrap_err(), LogError::Shrinks { from: 4, to: 3 });
    assert!(check_inclusion(&vec![now; 10_000], 4, now, 0, leaves[0]).is_err());
    assert!(check_inclusion(&[], u64::MAX, now, 0, leaves[0]).is_err());
    assert!(check_consistency(&[], u64::MAX, now, 1, now).is_err());
    assert!(check_consistency(&[], 4, now, 0, now).is_err());
    assert!(check_consistency(&[now], 4, now, 0, Hash::OF_NOTHING).is_err());
    let unread = prove_inclusion(8, 0, &nodes(&leaves)).unwrap_err();
    assert!(matches!(unread, LogError::Read { .. }), "{unread}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn growing_leaf_by_leaf_gives_the_root_of_the_definition(size in 0usize..700) {
        let leaves = numbered_leaves(size as u64);
        prop_assert_eq!(root(&leaves), root_by_definition(&leaves));
    }

    #[test]
    fn a_flipped_bit_breaks_an_inclusion_proof(size in 2u64..600, at in any::<u64>(), bit in any::<usize>()) {
        let leaves = numbered_leaves(size);
        let (now, index) = (root(&leaves), at % size);
        let leaf = leaves[usize::try_from(index).unwrap()];
        let mut proof = prove_inclusion(size, index, &nodes(&leaves)).unwrap();
        flip(&mut proof, bit);
        prop_assert_eq!(check_inclusion(&proof, size, now, index, leaf), Err(LogError::Proof));
    }

    #[test]
    fn a_flipped_bit_breaks_a_consistency_proof(size in 2u64..600, at in any::<u64>(), bit in any::<usize>()) {
        let leaves = numbered_leaves(size);
        let older = 1 + at % (size - 1);
        let then = root(&leaves[..usize::try_from(older).unwrap()]);
        let mut proof = prove_consistency(size, older, &nodes(&leaves)).unwrap();
        flip(&mut proof, bit);
        prop_assert_eq!(check_consistency(&proof, size, root(&leaves), older, then), Err(LogError::Proof));
    }
}

fn flip(proof: &mut [Hash], bit: usize) {
    let at = (bit / 256) % proof.len();
    let mut bytes = *proof[at].as_bytes();
    bytes[(bit % 256) / 8] ^= 1 << (bit % 8);
    proof[at] = Hash::from_bytes(bytes);
}
