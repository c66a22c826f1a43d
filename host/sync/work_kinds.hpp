// The kinds of durable work that there are (work/runner.hpp does them).
#pragma once

#include <map>
#include <memory>
#include <string>

#include "sync/retention.hpp"
#include "work/runner.hpp"

namespace sluice::sync {

/// A rule was made, changed or switched: its links become what the rule says now. First those that
/// there are become inactive, then, when the rule is on, each source that has its key goes into the
/// link queue. Of one that is going the links go, and then the rule. Subject: the rule's name.
inline constexpr const char* kApplyRule = "rule.apply";
/// Of its task: the links that there are stand as they are.
inline constexpr const char* kKeepsLinks = "keeps_links";

/// An attribute became a link key, stopped being one or changed its kind, or keys of its kind have
/// another normal form: entities that were there before get the key that their value makes, and
/// what it is unique by. Subject: "stripe.customer.email"; task: {"type", "attribute"}, and the
/// "position" of one that was taken away.
inline constexpr const char* kMakeKeys = "keys.make";

/// A relationship is new, and its table has rows: the index of the reference is built beside
/// whoever reads and writes. One that a killed host left half built is dropped first. Subject:
/// "stripe_invoice.customer"; task: {"table", "attribute"}.
inline constexpr const char* kMakeIndex = "index.make";

/// The same where amounts of a table with rows say their currency: the index by which those are
/// found whose currency nobody knows (model/currencies.hpp). Subject and task as kMakeIndex.
inline constexpr const char* kMakeCurrencyIndex = "index.make_currency";

/// A connection that is off goes: its entities with their keys and links, refetches, quarantine,
/// runs, secrets, streams, itself. What the feed said of the entities keeps its place and loses
/// external id and values (op "erased"), and the feed is told of each that goes, by its id alone.
/// Subject: the connection's name; task: {"connection", "connector"}.
inline constexpr const char* kDeleteConnection = "connection.delete";

/// Further: kApplyRetention (retention.hpp), kRenewViews (view_work.hpp), kDropType
/// (type_drop.hpp); and, of the engine, which has the vault, kTidySecrets (secret_work.hpp).

/// All of them but those of build_kinds() and kTidySecrets, for the lease "work".
[[nodiscard]] std::map<std::string, std::unique_ptr<work::Kind>> work_kinds(Retention kept = {});

/// kMakeIndex and kMakeCurrencyIndex, for the lease "build": an index waits for every older
/// transaction of the server, and nothing else of the workspace waits with it.
[[nodiscard]] std::map<std::string, std::unique_ptr<work::Kind>> build_kinds();

}  // namespace sluice::sync
