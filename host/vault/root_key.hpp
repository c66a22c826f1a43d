// The keys that everything else hangs on. Never in the database, never on a command line.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "vault/format.hpp"
#include "vault/secret.hpp"

namespace sluice::vault {

inline constexpr std::size_t kRootKeysMax = 8;

/// Where root keys may come from. The first of these that is there is used, whole; the others are
/// not looked at, and one that is there but wrong is an error, never skipped:
///   1. credential   $CREDENTIALS_DIRECTORY/sluice-root-key, as systemd's LoadCredential= makes it
///   2. file         0600, owned by us or by root, a regular file and no symbolic link
///   3. command      asks a key service; prints the key and exits 0 within kRootKeyCommandSeconds
///   4. environment  SLUICE_ROOT_KEY; for development, and warned about
struct RootKeySources {
  std::filesystem::path credentials_directory;  ///< empty: not started by systemd with credentials
  std::filesystem::path file;                   ///< normally <data>/root.key
  std::vector<std::string> command;             ///< program (absolute path) and arguments; no shell
  std::optional<Secret> environment;            ///< text

  /// `file` and `command` as configured, the rest from the process's environment. SLUICE_ROOT_KEY
  /// is wiped there and removed, so that no child inherits it: call once, before any thread starts.
  [[nodiscard]] static RootKeySources from_environment(std::filesystem::path file,
                                                       std::vector<std::string> command = {});
};

inline constexpr int kRootKeyCommandSeconds = 10;

/// One or more root keys: the first is current (new data keys are wrapped with it), the others
/// still open what they wrapped. Text form, in credential and file, one key a line; `#` starts a
/// comment line:
///   slrk1:<root key id, 8 hex digits>:<32 bytes, base64url without padding>
/// A command or the environment may give that, or one bare key: 64 hex digits, or 32 bytes in
/// base64. The id is computed from the key, so a damaged line is noticed.
class RootKeyring {
 public:
  struct Key {
    RootKeyId id;
    Secret bytes;
  };

  /// Blocking, at start. Errors never quote a key:
  ///   not_found  "vault.root_key.missing"      none of the sources is there
  ///   denied     "vault.root_key.permissions"  others can read it, it is not ours, or it is a link
  ///   bad_input  "vault.root_key.malformed"    with the line and what is wrong there
  ///   internal   "vault.root_key.command"      it failed, was too slow, or printed too much
  [[nodiscard]] static Result<RootKeyring> load(RootKeySources sources);
  /// For callers that hold the text already. `where` names it in errors.
  [[nodiscard]] static Result<RootKeyring> parse(const Secret& text, const std::string& where,
                                                 bool bare_key_allowed = false);
  /// Keys made elsewhere; the first is current. At least one, 32 bytes each.
  [[nodiscard]] static RootKeyring of(std::vector<Secret> keys);

  [[nodiscard]] const Key& current() const { return keys_.front(); }
  /// nullptr: this keyring does not hold it.
  [[nodiscard]] const Key* find(RootKeyId id) const;
  [[nodiscard]] std::span<const Key> keys() const { return keys_; }
  /// "a1b2c3d4, 00112233", for messages.
  [[nodiscard]] std::string ids() const;
  /// Where it was loaded from, for messages and logs: "file /var/lib/sluice/root.key".
  [[nodiscard]] const std::string& source() const { return source_; }

 private:
  RootKeyring() = default;
  std::vector<Key> keys_;
  std::string source_;
};

/// Makes a file with one new root key, 0600. All or nothing, also when the machine stops meanwhile,
/// and never over an existing file: conflict "vault.root_key.exists". The directory must exist.
/// Whoever calls this tells the user to keep a copy: without this file the vault's contents are
/// lost.
[[nodiscard]] Result<RootKeyId> create_root_key_file(const std::filesystem::path& path);

}  // namespace sluice::vault
