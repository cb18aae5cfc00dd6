//! Files that services read while they run: those of the machine, or in memory.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where files are read.
#[derive(Debug, Clone, Default)]
pub enum Files {
    /// In the file system.
    #[default]
    System,
    /// In memory, for tests and simulations, in which nothing may block.
    Memory(MemoryFiles),
}

/// Files in memory, by their paths; clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles(Arc<Mutex<HashMap<PathBuf, Vec<u8>>>>);

impl MemoryFiles {
    /// Writes a file, or replaces it.
    pub fn write(&self, path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(path.into(), content.into());
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Files {
    /// The content of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self {
            Self::System => tokio::fs::read(path).await,
            Self::Memory(files) => files.read(path),
        }
    }

    /// The same as text.
    ///
    /// # Errors
    /// When it cannot be read, or is not UTF-8.
    pub async fn read_to_string(&self, path: &Path) -> io::Result<String> {
        let content = self.read(path).await?;
        String::from_utf8(content)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_read_on_disk_and_in_memory_alike() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let memory = MemoryFiles::default();
        for (name, content) in [("text", &b"text\n"[..]), ("binary", b"\xff")] {
            std::fs::write(path(name), content).unwrap();
            memory.write(path(name), content);
        }
        for files in [Files::System, Files::Memory(memory.clone())] {
            assert_eq!(files.read_to_string(&path("text")).await.unwrap(), "text\n");
            assert_eq!(files.read(&path("binary")).await.unwrap(), b"\xff");
            let kind = async |name| files.read_to_string(&path(name)).await.unwrap_err().kind();
            assert_eq!(kind("binary").await, io::ErrorKind::InvalidData, "{files:?}");
            assert_eq!(kind("missing").await, io::ErrorKind::NotFound, "{files:?}");
        }
        memory.write(path("text"), "changed");
        let shared = Files::Memory(memory);
        assert_eq!(shared.read_to_string(&path("text")).await.unwrap(), "changed");
    }
}
