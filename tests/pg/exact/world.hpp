// The way of a value of JSON: in as a vendor's record or as one's own, stored, and out as REST, the
// change feed and the command line show it.
#pragma once

#include <string>
#include <vector>

#include "base/exact_json.hpp"
#include "cli/table.hpp"
#include "feed/entities.hpp"
#include "feed/feed.hpp"
#include "model/own_entities.hpp"
#include "model/own_types.hpp"
#include "pg/ingest/writer_fixture.hpp"

namespace sluice::testing {

/// acme.person of the ingest tests (data json, price decimal, score number) and an own type `thing`
/// (name text unique, rate decimal unique, j json, d decimal, n number).
class ExactWorld : public ingest::WriterTest {
 protected:
  void SetUp() override {
    WriterTest::SetUp();
    run(add_own_type());
  }
  Task<void> add_own_type() {
    const auto request = nlohmann::json::parse(R"({"name":"thing","attributes":[
        {"name":"name","type":"text","unique":true},{"name":"rate","type":"decimal","unique":true},
        {"name":"j","type":"json"},{"name":"d","type":"decimal"},{"name":"n","type":"number"}]})");
    auto type = model::own_type_from_json(request);
    auto lease = co_await pool().acquire();
    auto transaction = co_await pg::Transaction::begin(*lease);
    co_await model::create_own_type(transaction, WorkspaceId(1), std::move(*type));
    co_await transaction.commit();
    context_.catalog = co_await model::load_catalog(*lease, WorkspaceId(1));
  }

  /// A body, as REST reads it, or what is wrong with it.
  std::string put(const std::string& body, const std::string& key = "name") {
    auto values = read_json(body);
    if (!values) return values.error().describe();
    std::vector<model::OwnRow> rows(1);
    rows[0].values = std::move(*values);
    const model::OwnOutcome outcome = run(write_own_task(std::move(rows), key))[0];
    if (outcome.action == model::OwnAction::rejected) {
      return outcome.errors[0].attribute + ": " +
             std::string(model::to_string(outcome.errors[0].fault));
    }
    return outcome.action == model::OwnAction::inserted  ? "inserted"
           : outcome.action == model::OwnAction::updated ? "updated"
                                                         : "unchanged";
  }
  Task<std::vector<model::OwnOutcome>> write_own_task(std::vector<model::OwnRow> rows,
                                                      std::string key) {
    model::OwnWrite write;
    write.key = std::move(key);
    auto lease = co_await pool().acquire();
    co_return co_await model::write_own(*lease, WorkspaceId(1), *context_.catalog->find("thing"),
                                        std::move(rows), std::move(write));
  }

  /// A page of the list as REST sends it.
  std::string rest(const std::string& type, std::vector<feed::Filter> filters = {}) {
    feed::ListQuery query;
    query.limit = feed::kEntityPageMax;
    query.filters = std::move(filters);
    auto page = run(feed::list_entities(pool(), context_.catalog, type, std::move(query)));
    if (!page) return page.error().code + ": " + page.error().message;
    nlohmann::json document;
    document["entities"] = std::move(page->entities);
    return write_json(document);
  }
  /// The same of the change feed, from its beginning.
  std::string changes() {
    feed::FeedQuery query;
    query.limit = feed::kFeedPageMax;
    const auto page = run(feed::read_changes(pool(), WorkspaceId(1), std::move(query)));
    nlohmann::json document;
    document["changes"] = nlohmann::json::array();
    for (const feed::Change& change : page->changes)
      document["changes"].push_back(feed::to_json(change));
    return write_json(document);
  }
  /// What the command line has read of an answer.
  static nlohmann::ordered_json command_line(const std::string& answer) {
    return *read_ordered_json(answer);
  }
  /// JSON without its blanks.
  static std::string compact(const std::string& text) {
    std::string out;
    bool in_string = false;
    for (std::size_t at = 0; at < text.size(); ++at) {
      const char c = text[at];
      if (in_string && c == '\\') {
        out += c;
        out += text[++at];
        continue;
      }
      if (c == '"') in_string = !in_string;
      if (in_string || (c != ' ' && c != '\n')) out += c;
    }
    return out;
  }
};

}  // namespace sluice::testing
