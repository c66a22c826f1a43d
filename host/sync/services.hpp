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

struct Services {
  pg::Pool& pool;
  const Clock& clock;
  Entropy& entropy;
  connector::Registry& registry;
  vault::Vault& vault;
  fetch::Client& client;
  model::Catalogs& catalogs;
  ingest::Writer& writer;
  link::Resolver& resolver;
  Budgets& budgets;
};

}  // namespace sluice::sync
