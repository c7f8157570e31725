//! Operators: each has a slot that their passphrase opens, and a signing key.

use ed25519_dalek::{SigningKey, VerifyingKey};
use jiff::Timestamp;
use keywright_core::name::OperatorName;
use keywright_core::secret::Secret;
use zeroize::Zeroizing;

use crate::error::{LedgerError, Result};
use crate::seal::{MasterKey, SlotCost, decrypt, encrypt, random, stretch};
use crate::sql::{Row, Tx, Value};

/// A human who sets policy, approves and administers.
pub struct Operator {
    /// The name.
    pub name: OperatorName,
    /// Verifies their approvals.
    pub public_key: VerifyingKey,
    /// When they were added.
    pub added_at: Timestamp,
    slot: Slot,
    signing_key_sealed: Vec<u8>,
}

#[derive(Clone)]
struct Slot {
    salt: [u8; 16],
    cost: SlotCost,
    master_key_sealed: Vec<u8>,
}

/// What a new or changed passphrase leads to: everything that the row needs, already sealed.
pub struct OperatorKeys {
    public_key: VerifyingKey,
    signing_key_sealed: Vec<u8>,
    slot: Slot,
}

/// What the right passphrase opens.
pub struct Unlocked {
    /// The root of everything that is sealed.
    pub master: MasterKey,
    /// The operator's own signing key.
    pub signing: SigningKey,
}

const COLUMNS: &str = "name, public_key, signing_key_sealed, slot_salt, slot_memory_kib, slot_passes, slot_lanes, \
                       master_key_sealed, added_at";

impl OperatorKeys {
    /// Seals the master key and a signing key under a passphrase. Slow on purpose; run it off the runtime.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn seal(
        name: &OperatorName,
        passphrase: &Secret,
        master: &MasterKey,
        signing: Option<&SigningKey>,
        cost: SlotCost,
    ) -> Result<Self> {
        let fresh;
        let signing = match signing {
            Some(signing) => signing,
            None => {
                fresh = SigningKey::from_bytes(&*random::<32>()?);
                &fresh
            }
        };
        let salt = *random::<16>()?;
        let keys = stretch(passphrase, &salt, cost)?;
        let seed = Zeroizing::new(signing.to_bytes());
        Ok(Self {
            public_key: signing.verifying_key(),
            signing_key_sealed: encrypt(&keys.signing, &format!("operator-signing:{name}"), seed.as_ref())?,
            slot: Slot {
                salt,
                cost,
                master_key_sealed: encrypt(&keys.master, &format!("operator-slot:{name}"), master.bytes())?,
            },
        })
    }
}

impl Operator {
    /// Opens the slot. Slow on purpose; run it off the runtime.
    ///
    /// # Errors
    /// [`LedgerError::WrongPassphrase`].
    pub fn unlock(&self, passphrase: &Secret) -> Result<Unlocked> {
        let wrong = |_| LedgerError::WrongPassphrase { operator: Some(self.name.to_string()) };
        let keys = stretch(passphrase, &self.slot.salt, self.slot.cost)?;
        let master =
            decrypt(&keys.master, &format!("operator-slot:{}", self.name), &self.slot.master_key_sealed);
        let seed =
            decrypt(&keys.signing, &format!("operator-signing:{}", self.name), &self.signing_key_sealed);
        let (master, seed) = (fixed(&master.map_err(wrong)?)?, fixed(&seed.map_err(wrong)?)?);
        Ok(Unlocked { master: MasterKey::from_bytes(master), signing: SigningKey::from_bytes(&seed) })
    }

    fn read(row: &Row) -> Result<Self> {
        let number = |column| {
            u32::try_from(row.int(column)?).map_err(|_| LedgerError::Damaged { what: "passphrase slot" })
        };
        Ok(Self {
            name: row.parse(0, "operator name")?,
            public_key: VerifyingKey::from_bytes(&row.array(1)?)
                .map_err(|_| LedgerError::Damaged { what: "operator's public key" })?,
            signing_key_sealed: row.bytes(2)?.to_vec(),
            slot: Slot {
                salt: row.array(3)?,
                cost: SlotCost { memory_kib: number(4)?, passes: number(5)?, lanes: number(6)? },
                master_key_sealed: row.bytes(7)?.to_vec(),
            },
            added_at: row.time(8)?,
        })
    }
}

impl Tx<'_> {
    /// The operators, by name.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn operators(&self) -> Result<Vec<Operator>> {
        let sql = format!("SELECT {COLUMNS} FROM operators WHERE removed_at IS NULL ORDER BY name");
        self.query(&sql, &[])?.iter().map(Operator::read).collect()
    }

    /// One operator.
    ///
    /// # Errors
    /// [`LedgerError::Missing`] when there is none of this name.
    pub fn operator(&self, name: &OperatorName) -> Result<Operator> {
        let sql = format!("SELECT {COLUMNS} FROM operators WHERE name = $1 AND removed_at IS NULL");
        let row = self.first(&sql, &[Value::text(name)])?;
        row.map(|row| Operator::read(&row))
            .transpose()?
            .ok_or_else(|| LedgerError::Missing { what: "operator", name: name.to_string() })
    }

    /// Adds an operator. A name that was ever used stays taken, so that old signatures keep their meaning.
    ///
    /// # Errors
    /// [`LedgerError::Exists`].
    pub fn add_operator(&self, name: &OperatorName, keys: &OperatorKeys) -> Result<()> {
        let rows = self.execute(
            "INSERT INTO operators (name, public_key, signing_key_sealed, slot_salt, slot_memory_kib, slot_passes, \
             slot_lanes, master_key_sealed, added_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            &[
                Value::text(name),
                keys.public_key.as_bytes().as_slice().into(),
                keys.signing_key_sealed.as_slice().into(),
                keys.slot.salt.as_slice().into(),
                i64::from(keys.slot.cost.memory_kib).into(),
                i64::from(keys.slot.cost.passes).into(),
                i64::from(keys.slot.cost.lanes).into(),
                keys.slot.master_key_sealed.as_slice().into(),
                self.now().into(),
            ],
        )?;
        if rows == 0 {
            return Err(LedgerError::Exists { what: "operator", name: name.to_string() });
        }
        Ok(())
    }

    /// Puts the keys under a new passphrase. No value is encrypted again.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn rewrap_operator(&self, name: &OperatorName, keys: &OperatorKeys) -> Result<()> {
        let rows = self.execute(
            "UPDATE operators SET signing_key_sealed = $2, slot_salt = $3, slot_memory_kib = $4, slot_passes = $5, \
             slot_lanes = $6, master_key_sealed = $7 WHERE name = $1 AND removed_at IS NULL",
            &[
                Value::text(name),
                keys.signing_key_sealed.as_slice().into(),
                keys.slot.salt.as_slice().into(),
                i64::from(keys.slot.cost.memory_kib).into(),
                i64::from(keys.slot.cost.passes).into(),
                i64::from(keys.slot.cost.lanes).into(),
                keys.slot.master_key_sealed.as_slice().into(),
            ],
        )?;
        if rows == 0 {
            return Err(LedgerError::Missing { what: "operator", name: name.to_string() });
        }
        Ok(())
    }

    /// Removes an operator: their slot and signing key are destroyed, their unused approvals no longer count.
    ///
    /// # Errors
    /// [`LedgerError::Missing`]; [`LedgerError::Conflict`] for the last one, who can't be removed.
    pub fn remove_operator(&self, name: &OperatorName) -> Result<()> {
        self.operator(name)?;
        if self.operators()?.len() < 2 {
            return Err(LedgerError::Conflict {
                what: "the last operator can't be removed; the set of operators",
            });
        }
        self.execute(
            "UPDATE operators SET removed_at = $2, signing_key_sealed = $3, master_key_sealed = $3 WHERE name = $1",
            &[Value::text(name), self.now().into(), Value::Bytes(Vec::new())],
        )?;
        self.execute(
            "UPDATE approvals SET voided_at = $2 WHERE operator = $1 AND used_at IS NULL AND voided_at IS NULL",
            &[Value::text(name), self.now().into()],
        )?;
        Ok(())
    }
}

fn fixed(bytes: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    let mut out = Zeroizing::new([0u8; 32]);
    if bytes.len() != out.len() {
        return Err(LedgerError::Damaged { what: "passphrase slot" });
    }
    out.copy_from_slice(bytes);
    Ok(out)
}
