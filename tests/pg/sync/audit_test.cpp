// There is no change without its line of the audit, and no line of what did not happen: also where
// a change takes several transactions.
#include "sync/audit.hpp"

#include <gtest/gtest.h>

#include "model/import.hpp"
#include "pg/feed/world.hpp"

namespace sluice::sync {
namespace {

class AuditTest : public sluice::testing::FeedWorld {
 protected:
  static constexpr const char* kLines =
      "select coalesce(string_agg(action || ' ' || detail::text, '; ' order by audit_id), 'none') "
      "from sluice.audit";

  /// As the API does it; `pieces` of a CSV file, and whether it comes to its end.
  Task<void> import(std::vector<std::string> pieces, bool ends) {
    const AuditId id = co_await draw_audit_id(pool());
    model::ImportOptions options;
    options.beside = [this, id](pg::Pipeline& pipeline, const model::ImportProgress& progress) {
      nlohmann::json detail;
      detail["inserted"] = progress.inserted;
      detail["updated"] = progress.updated;
      pg::Call line = audit_so_far(workspace_, id, "token 1", "type.import", "customer", detail);
      pipeline.add(*line.statement, std::move(line.params));
    };
    model::Importer importer =
        expect(model::Importer::make(pool(), catalog_, "customer", std::move(options)));
    for (const std::string& piece : pieces) co_await importer.feed(piece);
    if (ends) {
      co_await importer.finish();
    } else {
      co_await importer.settle();
    }
  }
  static std::string rows(int from, int to, int seats) {
    std::string out;
    for (int n = from; n < to; ++n) out += fmt::format("{}@x.example,{}\n", n, seats);
    return out;
  }
  void writes(const std::string& email, bool is_wrong = false) {
    const auto write = [](pg::Pool& pool, WorkspaceId workspace, const model::StoredType& type,
                          std::string of, bool wrong) -> Task<void> {
      std::vector<model::OwnRow> rows(1);
      rows[0].values["email"] = of;
      if (wrong) rows[0].values["seats"] = "many";
      model::OwnWrite how;
      how.beside = [&](pg::Pipeline& pipeline, const std::vector<model::OwnOutcome>& outcomes) {
        nlohmann::json detail;
        detail["id"] = outcomes.at(0).id.value;
        pg::Call line = audit_line(workspace, "token 1", "entity.create", "customer", detail);
        pipeline.add(*line.statement, std::move(line.params));
      };
      auto connection = co_await pool.acquire();
      co_await model::write_own(*connection, workspace, type, std::move(rows), std::move(how));
    };
    run(write(pool(), workspace_, *catalog_->find("customer"), email, is_wrong));
  }
};

TEST_F(AuditTest, an_import_is_one_line_that_counts_what_is_stored_wherever_it_ends) {
  const std::string head = "email,seats\n";
  run(import({head, rows(0, 27'500, 1)}, false));  // whoever sent it went away
  EXPECT_EQ(text("select count(*) from sluice.own_entity"), "25000") << "five whole batches";
  EXPECT_EQ(text(kLines), R"(type.import {"updated": 0, "inserted": 25000})");
  run(import({head, rows(0, 27'500, 1)}, true));
  EXPECT_EQ(
      text(kLines),
      R"(type.import {"updated": 0, "inserted": 25000}; type.import {"updated": 0, "inserted": 2500})");
  run(import({head, rows(0, 27'500, 1)}, true));  // changes nothing
  EXPECT_EQ(text("select count(*) from sluice.audit"), "2");
  run(import({head, rows(0, 1'500, 2), rows(27'500, 27'502, 2)}, true));
  EXPECT_EQ(text("select detail from sluice.audit order by audit_id desc limit 1"),
            R"({"updated": 1500, "inserted": 2})");
  EXPECT_EQ(text("select distinct subject || ', ' || actor from sluice.audit"),
            "customer, token 1");
}

TEST_F(AuditTest, a_write_that_stores_nothing_leaves_no_line_and_one_that_fails_neither) {
  writes("a@x.example", true);
  EXPECT_EQ(text(kLines), "none") << "it was refused";
  writes("a@x.example");
  const std::string one =
      "entity.create {\"id\": " + text("select id from sluice.own_entity") + "}";
  EXPECT_EQ(text(kLines), one);
  writes("a@x.example");
  EXPECT_EQ(text(kLines), one) << "it changed nothing";
  sql("alter table sluice.change add constraint stop check (false) not valid");
  EXPECT_ANY_THROW(writes("b@x.example"));
  EXPECT_EQ(text(kLines), one);
}

}  // namespace
}  // namespace sluice::sync
