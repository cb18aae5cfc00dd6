//! The keys of an installation: files that a restore on another machine needs, encrypted with a passphrase in the
//! format of age, so that the `age` program opens them, too.

use std::io::{Read as _, Write as _};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The work factor of scrypt: 2^18 needs 256 MiB and about a second, as the `age` program chooses it.
const WORK_FACTOR: u8 = 18;

/// The highest work factor that is accepted: a file from outside must not occupy the machine.
const WORK_FACTOR_MAX: u8 = 20;

/// The most that is decrypted, in bytes.
const LENGTH_MAX: u64 = 16 << 20;

/// Why key files cannot be encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
pub enum KeyFilesError {
    /// They cannot be encrypted.
    #[error("cannot encrypt the key files")]
    Encrypt(#[source] std::io::Error),
    /// The passphrase is not the one that they were encrypted with.
    #[error("the passphrase does not open the keys in the backup: nothing was changed; try again")]
    Passphrase,
    /// The encrypted text is damaged.
    #[error("the keys in the backup are damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A file.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyFile {
    /// Its name in the data directory, or the path of a file of the configuration.
    pub name: String,
    /// Its content in Base64.
    content: Zeroizing<String>,
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeyFile").field(&self.name).finish()
    }
}

impl KeyFile {
    /// A file with this name and content.
    pub fn new(name: String, content: &[u8]) -> Self {
        Self { name, content: BASE64.encode(content).into() }
    }

    /// Its content; `None` if it is damaged.
    pub fn content(&self) -> Option<Zeroizing<Vec<u8>>> {
        BASE64.decode(self.content.as_bytes()).ok().map(Into::into)
    }
}

/// The files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KeyFiles {
    /// Of the data directory.
    pub data: Vec<KeyFile>,
    /// Of the configuration.
    pub configuration: Vec<KeyFile>,
}

impl KeyFiles {
    /// Encrypts the files; the text is the line `keys` of a backup.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn encrypt(&self, passphrase: &SecretString) -> Result<String, KeyFilesError> {
        let json =
            serde_json::to_vec(self).map_err(|error| KeyFilesError::Encrypt(error.into()))?;
        let json = Zeroizing::new(json);
        let mut recipient = age::scrypt::Recipient::new(passphrase.clone());
        recipient.set_work_factor(WORK_FACTOR);
        let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as _));
        let encryptor =
            encryptor.map_err(|error| KeyFilesError::Encrypt(std::io::Error::other(error)))?;
        let encrypt = || {
            let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
            let mut writer = encryptor.wrap_output(armor)?;
            writer.write_all(&json)?;
            writer.finish()?.finish()
        };
        let text = encrypt().map_err(KeyFilesError::Encrypt)?;
        String::from_utf8(text)
            .map_err(|error| KeyFilesError::Encrypt(std::io::Error::other(error)))
    }

    /// Decrypts the line `keys` of a backup.
    ///
    /// # Errors
    /// When the passphrase is another one, or the text is damaged.
    pub fn decrypt(text: &str, passphrase: &SecretString) -> Result<Self, KeyFilesError> {
        let damaged =
            |error: Box<dyn std::error::Error + Send + Sync>| KeyFilesError::Damaged(error);
        let decryptor = age::Decryptor::new(ArmoredReader::new(text.as_bytes()));
        let decryptor = decryptor.map_err(|error| damaged(error.into()))?;
        let mut identity = age::scrypt::Identity::new(passphrase.clone());
        identity.set_max_work_factor(WORK_FACTOR_MAX);
        let reader = match decryptor.decrypt(std::iter::once(&identity as _)) {
            Ok(reader) => reader,
            Err(age::DecryptError::DecryptionFailed | age::DecryptError::NoMatchingKeys) => {
                return Err(KeyFilesError::Passphrase);
            }
            Err(error) => return Err(damaged(error.into())),
        };
        let mut json = Zeroizing::new(Vec::new());
        reader.take(LENGTH_MAX).read_to_end(&mut json).map_err(|error| damaged(error.into()))?;
        serde_json::from_slice(&json).map_err(|error| damaged(error.into()))
    }

    /// The file of the data directory with this name.
    pub fn data_file(&self, name: &str) -> Option<&KeyFile> {
        self.data.iter().find(|file| file.name == name)
    }
}
