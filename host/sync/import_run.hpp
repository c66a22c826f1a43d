// An import among the runs: who sends which file, how far it is, and how it ended.
#pragma once

#include <optional>
#include <string>

#include "base/async.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "model/import.hpp"
#include "pg/connection.hpp"
#include "pg/pool.hpp"
#include "sync/audit.hpp"

namespace sluice::sync {

inline constexpr std::size_t kImportFileNameMax = 200;  ///< bytes kept of what it is called

struct ImportFile {
  ImportFile() = default;             // no aggregate: it is a coroutine's parameter
  std::string type;                   ///< into which it goes
  std::string name;                   ///< as whoever sends it calls it; may be empty
  std::optional<std::int64_t> bytes;  ///< as announced
};

/// Its id is the cause of the changes that the import makes.
Task<RunId> begin_import(pg::Pool& pool, WorkspaceId workspace, const Actor& actor,
                         ImportFile file);

/// How far it is: for the transaction that stores these rows, so that a run never tells of more
/// than there is; or by itself, while rows come that change nothing.
[[nodiscard]] pg::Call import_so_far(WorkspaceId workspace, RunId run,
                                     const model::ImportProgress& progress);

/// Done, or failed with why.
Task<void> end_import(pg::Pool& pool, WorkspaceId workspace, RunId run,
                      const model::ImportProgress& progress, std::optional<Error> failure);

/// Ends those of which nothing was heard for kImportSilence: their host is gone. Part of retention.
extern const pg::Statement kEndLostImports;
inline constexpr std::chrono::minutes kImportSilence{10};

}  // namespace sluice::sync
