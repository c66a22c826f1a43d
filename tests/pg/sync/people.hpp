// A connector of people, and the workspace that reads them: what tests of whole reads share.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.hpp"
#include "contract/manifest.hpp"
#include "ingest/writer.hpp"
#include "model/catalog.hpp"
#include "model/storage.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::sync {

/// acme.person, of which the snapshot stream "people" puts out all.
inline contract::Manifest people_manifest() {
  contract::Manifest manifest;
  manifest.id = "acme";
  manifest.version = "1.0.0";
  manifest.document = nlohmann::json::object();
  contract::EntityType person;
  person.name = "person";
  person.display_name = "Person";
  person.display_attribute = "name";
  contract::Attribute name;
  name.name = "name";
  name.required = true;
  person.attributes.push_back(name);
  manifest.entity_types.push_back(person);
  contract::Stream people;
  people.name = "people";
  people.entity_types = {"person"};
  people.enumerates = {"person"};
  manifest.streams.push_back(people);
  return manifest;
}

/// A workspace with acme.person, read by the snapshot stream "people", written as a sync writes:
/// run 1 goes on, under the lease "account" with epoch 7.
class PeopleTest : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    run(prepare());
  }

  SystemClock clock_;
  contract::Manifest manifest_ = people_manifest();
  ingest::PageContext context_;
  std::unique_ptr<model::Catalogs> catalogs_;
  std::unique_ptr<ingest::Writer> writer_;

 private:
  Task<void> prepare() {
    co_await make_world();
    context_.workspace = WorkspaceId(1);
    context_.connection = ConnectionId(1);
    context_.run = RunId(1);
    context_.stream = "people";
    context_.lease_name = "account";
    context_.epoch = Epoch(7);
    context_.manifest = &manifest_;
    catalogs_ = std::make_unique<model::Catalogs>(pool(), clock_);
    writer_ = std::make_unique<ingest::Writer>(pool());
    context_.catalog = co_await catalogs_->get(WorkspaceId(1));
  }

  Task<void> make_world() {
    auto connection = co_await pool().acquire();
    std::string world = sluice::testing::kOneStream;
    world +=
        "insert into sluice.sync_run (workspace_id, connection_id, stream, kind) values (1, 1, "
        "'people', 'full');"
        "insert into sluice.lease_epoch values (1, 'account', 7);";
    co_await connection->script(std::move(world));
    co_await model::install_types(*connection, WorkspaceId(1), manifest_);
  }
};

}  // namespace sluice::sync
