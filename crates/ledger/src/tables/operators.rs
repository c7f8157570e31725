//! Operators: each has a slot that their passphrase opens, and a signing key.

use ed25519_dalek::{SigningKey, VerifyingKey};
use jiff::Timestamp;
use keywright_core::name::OperatorName;
use keywright_core::secret::Secret;
use zeroize::Zeroizing;

use super::vouched::Vouched;
use crate::error::{LedgerError, Result};
use crate::seal::{Keyring, MasterKey, SlotCost, decrypt, encrypt, random, stretch};
use crate::sql::{Row, RowMac, Tx, Value};

/// A human who sets policy, approves and administers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The name.
    pub name: OperatorName,
    /// Verifies their approvals.
    pub public_key: VerifyingKey,
    /// When they were added.
    pub added_at: Timestamp,
    /// What vouches for the row.
    pub mac: RowMac,
}

/// An operator's row before the master key is there to vouch for it: all that it is good for is to be opened.
pub struct Slot {
    name: OperatorName,
    wrapped: Wrapped,
    row: Row,
}

struct Wrapped {
    salt: [u8; 16],
    cost: SlotCost,
    master_key_sealed: Vec<u8>,
    signing_key_sealed: Vec<u8>,
}

/// What a new or changed passphrase leads to: everything that the row needs, already sealed.
pub struct OperatorKeys {
    public_key: VerifyingKey,
    wrapped: Wrapped,
}

/// What the right passphrase opens.
pub struct Unlocked {
    /// The root of everything that is sealed.
    pub master: MasterKey,
    /// The operator's own signing key.
    pub signing: SigningKey,
}

const OPERATORS: Vouched = Vouched {
    table: "operators",
    what: "operator",
    columns: &[
        "name",
        "public_key",
        "signing_key_sealed",
        "slot_salt",
        "slot_memory_kib",
        "slot_passes",
        "slot_lanes",
        "master_key_sealed",
        "added_at",
        "removed_at",
    ],
};

impl OperatorKeys {
    /// The key that the operator's signatures are verified with.
    #[must_use]
    pub fn public_key(&self) -> &VerifyingKey {
        &self.public_key
    }

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
            wrapped: Wrapped {
                salt,
                cost,
                master_key_sealed: encrypt(&keys.master, &format!("operator-slot:{name}"), master.bytes())?,
                signing_key_sealed: encrypt(
                    &keys.signing,
                    &format!("operator-signing:{name}"),
                    seed.as_ref(),
                )?,
            },
        })
    }
}

impl Wrapped {
    /// The columns, from `signing_key_sealed` to `master_key_sealed`.
    fn values(&self) -> [Value; 6] {
        [
            self.signing_key_sealed.as_slice().into(),
            self.salt.as_slice().into(),
            i64::from(self.cost.memory_kib).into(),
            i64::from(self.cost.passes).into(),
            i64::from(self.cost.lanes).into(),
            self.master_key_sealed.as_slice().into(),
        ]
    }
}

impl Slot {
    /// Whose it says it is.
    #[must_use]
    pub fn name(&self) -> &OperatorName {
        &self.name
    }

    /// Opens the slot. Slow on purpose; run it off the runtime.
    ///
    /// # Errors
    /// [`LedgerError::WrongPassphrase`].
    pub fn unlock(&self, passphrase: &Secret) -> Result<Unlocked> {
        let wrong = |_| LedgerError::WrongPassphrase { operator: Some(self.name.to_string()) };
        let Wrapped { salt, cost, master_key_sealed, signing_key_sealed } = &self.wrapped;
        let keys = stretch(passphrase, salt, *cost)?;
        let master = decrypt(&keys.master, &format!("operator-slot:{}", self.name), master_key_sealed);
        let seed = decrypt(&keys.signing, &format!("operator-signing:{}", self.name), signing_key_sealed);
        let (master, seed) = (fixed(&master.map_err(wrong)?)?, fixed(&seed.map_err(wrong)?)?);
        Ok(Unlocked { master: MasterKey::from_bytes(master), signing: SigningKey::from_bytes(&seed) })
    }

    /// The operator whose slot it is, when the row was written under this home's master key.
    ///
    /// # Errors
    /// [`LedgerError::Edited`].
    pub fn vouched(&self, keyring: &Keyring) -> Result<Operator> {
        Operator::read(&self.row, keyring)
    }

    fn read(row: Row) -> Result<Self> {
        let number = |column| {
            u32::try_from(row.int(column)?).map_err(|_| LedgerError::Damaged { what: "passphrase slot" })
        };
        Ok(Self {
            name: row.parse(0, "operator name")?,
            wrapped: Wrapped {
                signing_key_sealed: row.bytes(2)?.to_vec(),
                salt: row.array(3)?,
                cost: SlotCost { memory_kib: number(4)?, passes: number(5)?, lanes: number(6)? },
                master_key_sealed: row.bytes(7)?.to_vec(),
            },
            row,
        })
    }
}

impl Operator {
    fn read(row: &Row, keyring: &Keyring) -> Result<Self> {
        let mac = OPERATORS.check(row, keyring)?;
        Ok(Self {
            name: row.parse(0, "operator name")?,
            public_key: VerifyingKey::from_bytes(&row.array(1)?)
                .map_err(|_| LedgerError::Damaged { what: "operator's public key" })?,
            added_at: row.time(8)?,
            mac,
        })
    }
}

impl Tx<'_> {
    /// The slots of all operators, by name, as the rows say.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn slots(&self) -> Result<Vec<Slot>> {
        self.query(&OPERATORS.select(""), &[])?.into_iter().map(Slot::read).collect()
    }

    /// One operator's slot, as the row says.
    ///
    /// # Errors
    /// [`LedgerError::Missing`] when there is none of this name.
    pub fn slot(&self, name: &OperatorName) -> Result<Slot> {
        self.operator_row(name).and_then(Slot::read)
    }

    /// The operators, by name, each row for itself: one that was edited takes no other with it.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn operators(&self, keyring: &Keyring) -> Result<Vec<Result<Operator>>> {
        let rows = self.query(&OPERATORS.select(""), &[])?;
        Ok(rows.iter().map(|row| Operator::read(row, keyring)).collect())
    }

    /// One operator.
    ///
    /// # Errors
    /// [`LedgerError::Missing`] when there is none of this name, [`LedgerError::Edited`].
    pub fn operator(&self, name: &OperatorName, keyring: &Keyring) -> Result<Operator> {
        Operator::read(&self.operator_row(name)?, keyring)
    }

    fn operator_row(&self, name: &OperatorName) -> Result<Row> {
        let row = self.first(&OPERATORS.select(" AND name = $1"), &[Value::text(name)])?;
        row.ok_or_else(|| LedgerError::Missing { what: "operator", name: name.to_string() })
    }

    /// Adds an operator. A name that was ever used stays taken, so that old signatures keep their meaning.
    ///
    /// # Errors
    /// [`LedgerError::Exists`], [`LedgerError::Alike`].
    pub fn add_operator(
        &self,
        name: &OperatorName,
        keys: &OperatorKeys,
        keyring: &Keyring,
    ) -> Result<RowMac> {
        let mut values = vec![Value::text(name), keys.public_key.as_bytes().as_slice().into()];
        values.extend(keys.wrapped.values());
        values.push(self.now().into());
        OPERATORS.insert(self, values, keyring)
    }

    /// Puts the keys under a new passphrase. No value is encrypted again.
    ///
    /// # Errors
    /// [`LedgerError::Missing`], [`LedgerError::Edited`].
    pub fn rewrap_operator(
        &self,
        name: &OperatorName,
        keys: &OperatorKeys,
        keyring: &Keyring,
    ) -> Result<RowMac> {
        let columns = OPERATORS.columns.iter().copied().skip(2);
        let changes = columns.zip(keys.wrapped.values()).collect();
        OPERATORS.update(self, name.as_str(), changes, keyring)
    }

    /// Removes an operator: their slot and signing key are destroyed, their unused approvals no longer count.
    ///
    /// # Errors
    /// [`LedgerError::Missing`]; [`LedgerError::LastOperator`].
    pub fn remove_operator(&self, name: &OperatorName, keyring: &Keyring) -> Result<()> {
        self.operator_row(name)?;
        // Who would be left: a row that counts for nothing opens no home.
        if !self.operators(keyring)?.into_iter().flatten().any(|left| left.name != *name) {
            return Err(LedgerError::LastOperator);
        }
        let destroyed = |column| (column, Value::Bytes(Vec::new()));
        let changes = vec![
            ("removed_at", self.now().into()),
            destroyed("signing_key_sealed"),
            destroyed("master_key_sealed"),
        ];
        OPERATORS.update(self, name.as_str(), changes, keyring)?;
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
