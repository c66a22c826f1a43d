// Rows of the organisation's own types: written in batches, read by id, deleted softly.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "model/catalog.hpp"
#include "model/own_values.hpp"
#include "pg/connection.hpp"
#include "pg/fenced.hpp"

namespace sluice::model {

inline constexpr std::size_t kOwnBatchMax = 5000;  ///< rows of one call, one transaction
inline constexpr int kOwnWriteAttemptsMax = 5;  ///< when other writers meet ours at the same values

enum class OwnMode {
  upsert,  ///< the key attribute's value decides: update that entity, or insert
  insert,  ///< always a new entity; a unique value that exists is an error of its row
  update,  ///< each row names its entity by id; one that does not exist is an error of its row
  remove,  ///< the same: its unique values become free and its link keys are lost (and queued); the
           ///< same values later make a new entity with a new id
};

/// One row to write. `values` maps attributes to values as own_values.hpp describes: an absent
/// attribute stays as it is, null clears it.
struct OwnRow {
  nlohmann::json values = nlohmann::json::object();
  EntityId id;  ///< update and remove only
};

enum class OwnAction { inserted, updated, unchanged, removed, rejected };

struct OwnOutcome {
  OwnAction action = OwnAction::rejected;
  EntityId id;                     ///< 0 when rejected
  std::vector<FieldError> errors;  ///< when rejected: every attribute that is wrong
};

struct OwnWrite {
  OwnMode mode = OwnMode::upsert;
  std::string key;       ///< upsert: a unique attribute; empty: the type's first
  RunId run;             ///< cause of the change rows; 0: none
  bool dry_run = false;  ///< all is looked at, and nothing written: new ones have no id
  /// Whether an earlier row of the same file is this entity. When there is such a function, a row
  /// that would change what an earlier one has said (of the file or of these rows) is rejected as a
  /// repeated_key; one that says the same is unchanged. Else the later row writes over it. The
  /// reason goes on behind what that row is called: "has the same email, and another name".
  std::function<bool(EntityId)> said_before;
  /// What goes into the transaction besides, such as a line of the audit. Asked only when something
  /// is stored, and anew for each try.
  std::function<void(pg::Pipeline&, const std::vector<OwnOutcome>&)> beside;
};

/// Name of the attribute that `upsert` matches by: `wanted` when it is unique, the first unique one
/// when `wanted` is empty, "" when the type has none (then every row is a new entity). Error:
/// bad_input "entity.bad_key".
Result<std::string> upsert_key(const StoredType& type, std::string_view wanted);

/// Writes up to kOwnBatchMax rows in one transaction, as if one after the other: rows that are
/// wrong are rejected with their reasons, all others are stored. In the same transaction go unique
/// values, link keys, the queue of gained and lost keys, and the change rows, one for each row that
/// changed something; an unchanged row writes nothing. A unique attribute that is a link key is
/// unique by the key: a@x and A@x are one (own_values.hpp, unique_form); a decimal is unique by its
/// one form: 1.5 and 1.50 are one. Rows that were stored
/// before that was so stay; a key that several of them have names the one that writes it so, or
/// none. The outcomes are in the order of the rows. The
/// connection must not be inside a transaction. Throws pg::QueryError; retry_later when other
/// writers won kOwnWriteAttemptsMax times; not_found "type.not_found" when the type was dropped
/// since it was read, or is another one of its name. `type` must outlive the call and be an own
/// type.
Task<std::vector<OwnOutcome>> write_own(pg::Connection& connection, WorkspaceId workspace,
                                        const StoredType& type, std::vector<OwnRow> rows,
                                        OwnWrite write);

/// One write of one row, for several together.
struct OwnItem {
  const StoredType* type = nullptr;  ///< an own type; outlives the call
  OwnRow row;
  OwnMode mode = OwnMode::upsert;
  std::string key;  ///< as in OwnWrite
  /// As in OwnWrite, for this row: asked only when it changes something. It may be asked after its
  /// writer has gone, and refers to nothing of it.
  std::function<void(pg::Pipeline&, const OwnOutcome&)> beside;
};

/// The same for rows of any types, each in its own way; at most kOwnBatchMax. With a
/// `lock_patience`, waiting longer than this for a lock of anything but the feed's head ends it all
/// with QueryError(55P03): somebody keeps one of these rows, and the others need not wait for it.
Task<std::vector<OwnOutcome>> write_own(
    pg::Connection& connection, WorkspaceId workspace, std::vector<OwnItem> items, RunId run,
    std::chrono::milliseconds lock_patience = std::chrono::milliseconds(0));

/// After the form of a unique attribute changed: gives the entities with these ids (they are locked
/// against writers) the form that their value has now. One whose form another has already stays as
/// it is, and is one of shared_keys(). Part of durable work; harmless to repeat.
Task<void> remake_unique(pg::Fenced& fenced, WorkspaceId workspace, const StoredType& type,
                         const StoredAttribute& attribute, std::vector<EntityId> ids);

/// Two entities that are one by a unique attribute: stored before they were.
struct SharedKey {
  std::string type, attribute;
  EntityId id, other;
};
inline constexpr int kSharedKeysMax = 100;
/// At most kSharedKeysMax, by type, attribute and id.
Task<std::vector<SharedKey>> shared_keys(pg::Connection& connection, const Catalog& catalog);

struct OwnEntity {
  EntityId id;
  nlohmann::json data;
  Micros created_at{};
  Micros updated_at{};
};
/// nullopt when there is none, or it was deleted.
Task<std::optional<OwnEntity>> read_own(pg::Connection& connection, WorkspaceId workspace,
                                        const StoredType& type, EntityId id);

}  // namespace sluice::model
