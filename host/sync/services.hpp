// What the parts of sync/ work with. Built by main, outlives them all; one loop.
#pragma once

#include "base/clock.hpp"
#include "base/entropy.hpp"
#include "connector/registry.hpp"
#include "fetch/client.hpp"
#include "ingest/writer.hpp"
#include "link/resolver.hpp"
#include "model/catalog.hpp"
#include "pg/pool.hpp"
#include "vault/vault.hpp"

namespace sluice::sync {

class Budgets;
class PageBudget;
class StepPool;

/// Milliseconds of the steady clock: an order of requests that a corrected wall clock cannot turn
/// round. Writers compare it within one epoch of a lease, so never across processes.
inline std::int64_t steady_ms(const Clock& clock) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(clock.steady().time_since_epoch())
      .count();
}

struct Services {
  pg::Pool& pool;      ///< for work: what runs under leases
  pg::Pool& leases;    ///< for the leases themselves
  pg::Pool& changing;  ///< for what an admin changes, each workspace by its share
  pg::Pool& building;  ///< for indexes
  const Clock& clock;
  Entropy& entropy;
  connector::Registry& registry;
  vault::Vault& vault;
  fetch::Client& client;
  model::Catalogs& catalogs;
  ingest::Writer& writer;
  link::Resolver& resolver;
  Budgets& budgets;
  StepPool& steps;
  PageBudget& pages;
};

}  // namespace sluice::sync
