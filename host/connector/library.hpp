// A connector's code in this process.
#pragma once

#include <sluice/connector.h>

#include <memory>

#include "base/error.hpp"
#include "connector/store.hpp"

namespace sluice::connector {

/// One mapped connector library, checked against what was read from its file. Immutable; any
/// thread. Destroying it does not unmap it: code of a connector that ran stays in the process until
/// its end, because nothing can tell whether a thread, a destructor or a function pointer still
/// refers to it (SLP-L04). Disabling a connector means to open no more sessions.
class Library {
 public:
  /// Maps the sealed bytes and checks what only the mapping shows: that the entry is this file's
  /// own, its version and sizes, that the manifest in memory is the one in the note, and that the
  /// functions lie in the library's code. Its initialisers run here. Errors: connector.load_failed
  /// (the dynamic loader's words), connector.entry_missing, connector.entry_foreign,
  /// connector.entry_invalid, connector.manifest_differs, those of check_abi().
  static Result<std::unique_ptr<const Library>> load(const Admitted& admitted);

  ~Library();
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  [[nodiscard]] const sluice_entry_v1& entry() const { return *entry_; }

 private:
  struct Handle;
  Library(std::unique_ptr<Handle> handle, const sluice_entry_v1* entry);

  std::unique_ptr<Handle> handle_;
  const sluice_entry_v1* entry_;
};

}  // namespace sluice::connector
