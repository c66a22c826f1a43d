// Who keeps a workspace's head and does nothing with it.
#pragma once

#include <chrono>

#include "base/async.hpp"
#include "pg/connection.hpp"

namespace sluice::journal {

/// So long a frozen holder is waited for.
inline constexpr std::chrono::seconds kHeadPatience{10};

/// Ends sessions of ours, on this database, that somebody has waited for at a head's row for
/// `patience` and that wait for their own client meanwhile: a host that was stopped, or lost its
/// network, between its append and its commit. No timeout of the server ends a client in
/// mid-pipeline, and everybody who tells changes of that workspace would wait with it. Nothing of
/// such a transaction is stored, and its host, should it go on, is told so.
///
/// Left alone are those who work, or who wait for a disk, a lock or a standby; whoever holds a lock
/// of the whole table; sessions that are not ours. An append gives up waiting for those by itself
/// (journal/append.hpp). Needs nothing but `connection`, on which no transaction may be open, and
/// never waits for a lock. Returns how many were ended. Throws pg::QueryError.
Task<int> end_frozen_holders(pg::Connection& connection, std::chrono::milliseconds patience);

}  // namespace sluice::journal
