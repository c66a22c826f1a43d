// What stands inside of a vendor's JSON as an attribute and as a link key, whatever came first.
#include "sync/path_attributes.hpp"

#include <array>
#include <tuple>

#include "feed/views.hpp"
#include "link/idle.hpp"
#include "link/inside.hpp"
#include "link/resolver.hpp"
#include "model/columns.hpp"
#include "model/own_entities.hpp"
#include "pg/ingest/writer_fixture.hpp"
#include "sync/link_rules.hpp"
#include "sync/work_kinds.hpp"
#include "work/runner.hpp"

namespace sluice::sync {
namespace {

using contract::KeyKind;
using ingest::PageBuilder;
using nlohmann::json;

/// The workspace of the writer's tests, whose acme.person has JSON in "data", beside an own type
/// "customer" with a number that is an exact key.
class PathAttributes : public ingest::WriterTest {
 protected:
  void SetUp() override {
    WriterTest::SetUp();
    run(make_customer());
  }
  Task<void> make_customer() {
    auto lease = co_await pool().acquire();
    co_await lease->script(
        "delete from sluice.work; insert into sluice.lease_epoch values (1, 'link', 1), (1, "
        "'work', 1)");
    auto wanted = model::own_type_from_json(json::parse(
        R"({"name":"customer","attributes":[{"name":"number","type":"text","link_key":"exact"}]})"));
    auto transaction = co_await pg::Transaction::begin(*lease);
    auto made = co_await model::create_own_type(transaction, WorkspaceId(1), std::move(*wanted));
    EXPECT_TRUE(made);
    co_await transaction.commit();
    context_.catalog = co_await model::load_catalog(*lease, WorkspaceId(1));
  }

  static model::OwnAttribute wanted(const std::string& name, const std::string& path,
                                    std::optional<KeyKind> kind = KeyKind::exact) {
    model::OwnAttribute attribute;
    attribute.name = name;
    attribute.path = path;
    attribute.key_kind = kind;
    return attribute;
  }
  Task<std::string> add_task(model::OwnAttribute attribute, std::string type) {
    auto lease = co_await pool().acquire();
    const auto added =
        co_await add_path_attribute(*lease, WorkspaceId(1), type, std::move(attribute), "t");
    context_.catalog = co_await model::load_catalog(*lease, WorkspaceId(1));
    co_return added ? std::string() : added.error().code;
  }
  Task<std::string> drop_task(std::string name, std::string type) {
    auto lease = co_await pool().acquire();
    const auto gone = co_await drop_path_attribute(*lease, WorkspaceId(1), type, name, "t");
    context_.catalog = co_await model::load_catalog(*lease, WorkspaceId(1));
    co_return gone ? std::string() : gone.error().code;
  }
  /// "" or the code of what was wrong.
  std::string add(model::OwnAttribute attribute, const std::string& type = "acme.person") {
    return run(add_task(std::move(attribute), type));
  }
  std::string drop(const std::string& name, const std::string& type = "acme.person") {
    return run(drop_task(name, type));
  }
  void add_rule(const std::string& attribute = "customer_number") {
    NewRule rule;
    rule.name = "by number";
    rule.source_type = "acme.person";
    rule.source_attribute = attribute;
    rule.target_type = "customer";
    rule.target_attribute = "number";
    EXPECT_TRUE(run(make_rule(pool(), WorkspaceId(1), std::move(rule), "t")));
    run(reload_catalog());
  }
  Task<void> reload_catalog() {
    auto lease = co_await pool().acquire();
    context_.catalog = co_await model::load_catalog(*lease, WorkspaceId(1));
  }

  void person(const std::string& id, const std::string& data) {
    auto built = page();
    json values = {{"name", "Ann"}};
    values["data"] = data.empty() ? json(nullptr) : json(data);
    built.record("person", id, values);
    EXPECT_EQ(write(built.page).quarantined, 0);
  }
  /// A record with one text that no attribute is for, or with none.
  void found(const std::string& id, const std::string& name, const std::string& value, bool whole) {
    auto built = page();
    built.record("person", id, {{"name", "Ann"}});
    if (!name.empty()) {
      const auto named = built.page.allocate<contract::NamedValue>(1);
      named[0] = contract::NamedValue();
      named[0].name = built.page.keep(name);
      named[0].value.kind = contract::Kind::string;
      named[0].value.text = built.page.keep(value);
      built.page.records.back().named = named;
    }
    built.page.records.back().whole = whole;
    EXPECT_EQ(write(built.page).quarantined, 0);
  }
  void own(const std::string& number) { run(own_task(number)); }
  Task<void> own_task(std::string number) {
    auto lease = co_await pool().acquire();
    const model::CatalogPtr catalog = co_await model::load_catalog(*lease, WorkspaceId(1));
    std::vector<model::OwnRow> rows(1);
    rows[0].values["number"] = std::move(number);
    model::OwnWrite how;
    const auto outcomes = co_await model::write_own(
        *lease, WorkspaceId(1), *catalog->find("customer"), std::move(rows), std::move(how));
    EXPECT_EQ(outcomes.size(), 1U);
  }

  static pg::LeaseProof proof(std::string name) {
    pg::LeaseProof proof;
    proof.workspace = WorkspaceId(1);
    proof.name = std::move(name);
    proof.epoch = Epoch(1);
    return proof;
  }
  /// All that is due, until nothing is.
  void finish() {
    work::Runner runner(pool(), work_kinds());
    link::Resolver resolver(pool());
    const auto resolve = [](link::Resolver& with, pg::Pool& pool,
                            pg::LeaseProof lease) -> Task<bool> {
      model::CatalogPtr catalog;
      {
        auto connection = co_await pool.acquire();
        catalog = co_await model::load_catalog(*connection, WorkspaceId(1));
      }
      const link::ResolveCounts counts = co_await with.run_once(catalog, std::move(lease));
      co_return counts.queue_rows > 0;
    };
    for (int round = 0; round < 100; ++round) {
      bool more = run(runner.run_once(proof("work"), [] { return true; }));
      more |= run(resolve(resolver, pool(), proof("link")));
      if (!more) return;
    }
    ADD_FAILURE() << "it does not end";
  }
  /// "p linked; q pending": by the person's external id.
  std::string links() {
    std::string out = ask(
        "select p.external_id || ':' || l.state from sluice.link l join vendor.acme_person p on "
        "p.id = l.source_id order by p.external_id");
    return out;
  }
  /// Keys of what stands at paths.
  std::string keys() {
    return ask("select count(*) from sluice.link_key where attribute >= 10000");
  }
};

enum class Step { attribute_and_rule, vendor, own };

/// In whichever order an admin, a vendor and the organisation come.
class PathKeyOrder : public PathAttributes,
                     public ::testing::WithParamInterface<std::array<Step, 3>> {};

TEST_P(PathKeyOrder, the_vendors_row_is_linked_by_what_stands_in_its_json) {
  for (const Step step : GetParam()) {
    if (step == Step::attribute_and_rule) {
      EXPECT_EQ(add(wanted("customer_number", "data.customer.number")), "");
      add_rule();
    } else if (step == Step::vendor) {
      person("p", R"({"customer": {"number": "C-17"}})");
      person("q", R"({"customer": {"number": "C-18"}})");
      person("r", R"({"customer": "C-17"})");
    } else {
      own("C-17");
    }
    finish();
  }
  EXPECT_EQ(links(), "p:linked q:pending");
  EXPECT_EQ(keys(), "2");
}

INSTANTIATE_TEST_SUITE_P(
    All, PathKeyOrder,
    ::testing::Values(std::array{Step::attribute_and_rule, Step::vendor, Step::own},
                      std::array{Step::attribute_and_rule, Step::own, Step::vendor},
                      std::array{Step::vendor, Step::attribute_and_rule, Step::own},
                      std::array{Step::vendor, Step::own, Step::attribute_and_rule},
                      std::array{Step::own, Step::attribute_and_rule, Step::vendor},
                      std::array{Step::own, Step::vendor, Step::attribute_and_rule}));

TEST_F(PathAttributes, a_key_changes_goes_and_comes_with_what_stands_there) {
  EXPECT_EQ(add(wanted("customer_number", "data.number")), "");
  add_rule();
  own("1");
  own("2");
  finish();
  const auto target = [&] {
    return ask(
        "select coalesce(e.data->>'number', l.state) from sluice.link l left join "
        "sluice.own_entity e on e.id = l.target_id");
  };
  person("p", R"({"number": "1"})");
  finish();
  EXPECT_EQ(target(), "1");
  person("p", R"({"number": "1", "other": true})");  // no key is touched
  EXPECT_EQ(ask("select count(*) from sluice.link_queue"), "0");
  person("p", R"({"number": 2})");
  finish();
  EXPECT_EQ(target(), "2");
  person("p", R"({"number": ["2"]})");
  finish();
  EXPECT_EQ(keys(), "0");
  person("p", R"({"number": 2.0})");
  finish();
  EXPECT_EQ(target(), "2");
  person("p", "");  // null
  finish();
  EXPECT_EQ(keys(), "0");
  person("p", R"({"number": "1"})");
  auto gone = page();
  gone.deleted("person", "p");
  EXPECT_EQ(write(gone.page).deleted, 1);
  EXPECT_EQ(keys(), "0");
  auto back = page();  // says nothing of the JSON, which is as it was
  back.record("person", "p", {{"name", "Ann"}});
  EXPECT_EQ(write(back.page).updated, 1);
  finish();
  EXPECT_EQ(target(), "1");
}

/// The connector's author thought of no such key.
TEST_F(PathAttributes, a_text_that_the_connector_declares_is_a_key_under_a_name_of_its_own) {
  const auto named = [&](const std::string& id, const std::string& name) {
    auto built = page();
    built.record("person", id, {{"name", name}});
    EXPECT_EQ(write(built.page).quarantined, 0);
  };
  named("p", "C-17");
  own("C-17");
  own("C-18");
  EXPECT_EQ(add(wanted("number_in_name", "name", std::nullopt)), "attribute.bad_path");
  EXPECT_EQ(add(wanted("number_in_name", "name.first")), "attribute.bad_path");
  EXPECT_EQ(add(wanted("number_in_name", "name")), "");
  EXPECT_EQ(add(wanted("another", "number_in_name")), "attribute.bad_path");
  add_rule("number_in_name");
  finish();
  EXPECT_EQ(links(), "p:linked") << "a row that was there";
  named("q", "C-18");
  named("r", "nobody");
  finish();
  EXPECT_EQ(links(), "p:linked q:linked r:pending") << "rows that came since";
  named("r", "C-17");
  named("p", "gone");
  finish();
  EXPECT_EQ(links(), "p:pending q:linked r:linked") << "rows that changed";
  EXPECT_EQ(keys(), "3");
  const model::StoredType& type = *context_.catalog->find("acme.person");
  const std::string shown = model::value_expression(type, *type.find("number_in_name"), "t");
  EXPECT_EQ(ask("select string_agg(" + shown + ", ' ' order by t.external_id) from " +
                "vendor.acme_person t"),
            "gone C-18 C-17");
  EXPECT_EQ(drop("number_in_name"), "attribute.in_use");
}

TEST_F(PathAttributes, what_a_vendor_sent_beyond_its_attributes_is_a_key_as_well) {
  EXPECT_EQ(add(wanted("customer_number", "extra.cf_number")), "");
  add_rule();
  own("C-17");
  found("p", "cf_number", "C-17", false);
  finish();
  EXPECT_EQ(links(), "p:linked");
  found("p", "another", "x", false);  // is added to what was there
  EXPECT_EQ(keys(), "1");
  found("p", "cf_number", "C-18", false);
  finish();
  EXPECT_EQ(links(), "p:pending");
  found("p", "cf_number", "C-17", true);
  finish();
  EXPECT_EQ(links(), "p:linked");
  found("p", "", "", true);  // the whole object, without it
  EXPECT_EQ(keys(), "0");
  finish();
  EXPECT_EQ(links(), "");
  EXPECT_EQ(ask("select coalesce(extra::text, '-') from vendor.acme_person"), "-");
}

TEST_F(PathAttributes, what_is_discovered_is_found_in_rows_that_were_there_before) {
  found("p", "cf_number", "C-17", true);
  own("C-17");
  finish();
  EXPECT_EQ(add(wanted("customer_number", "extra.cf_number")), "");
  add_rule();
  finish();
  EXPECT_EQ(links(), "p:linked");
}

TEST_F(PathAttributes, a_page_that_is_copied_has_the_same_keys_as_one_that_is_inserted) {
  constexpr int kRows = 120;  // enough to be copied, into a table without rows
  EXPECT_EQ(add(wanted("customer_number", "data.number")), "");
  auto built = page();
  for (int n = 0; n < kRows; ++n) {
    const std::string data = fmt::format(R"({{"number": "{}"}})", n);
    built.record("person", fmt::format("p{:03}", n), {{"name", "Ann"}, {"data", data}});
  }
  EXPECT_EQ(write(built.page).inserted, kRows);
  EXPECT_EQ(keys(), std::to_string(kRows));
  const std::string copied =
      ask("select md5(string_agg(digest::text, '' order by entity_id)) from "
          "sluice.link_key");
  run(pool().query("delete from sluice.link_key"));
  run(
      pool().query("insert into sluice.work (workspace_id, kind, subject, task) values (1, "
                   "'keys.make', 'x', '{\"type\": \"acme.person\", \"attribute\": "
                   "\"customer_number\"}')"));
  finish();
  EXPECT_EQ(ask("select md5(string_agg(digest::text, '' order by entity_id)) from "
                "sluice.link_key"),
            copied)
      << "made of rows that are there";
}

TEST_F(PathAttributes, one_goes_with_its_keys_unless_a_rule_goes_by_it) {
  EXPECT_EQ(add(wanted("customer_number", "data.number")), "");
  add_rule();
  person("p", R"({"number": "C-17", "old": "C-16"})");
  own("C-17");
  finish();
  EXPECT_EQ(links(), "p:linked");
  EXPECT_EQ(drop("customer_number"), "attribute.in_use");
  EXPECT_EQ(keys(), "1");
  EXPECT_TRUE(run(switch_rule(pool(), WorkspaceId(1), "by number", false, "t")));
  EXPECT_EQ(drop("customer_number"), "");
  EXPECT_EQ(drop("customer_number"), "attribute.not_found");
  finish();
  EXPECT_EQ(keys(), "0");
  person("q", R"({"number": "C-17"})");
  EXPECT_EQ(keys(), "0") << "a row of afterwards has none";
  const auto why = [&] {
    EXPECT_TRUE(run(switch_rule(pool(), WorkspaceId(1), "by number", true, "t")));
    run(reload_catalog());
    const auto idle = link::why_idle(*context_.catalog, context_.catalog->rules.at(0));
    return idle ? idle->code : "";
  };
  EXPECT_EQ(why(), "rule.unknown_attribute");
  // The name comes back for another place: rows have the keys of that one, and the rule looks.
  EXPECT_EQ(add(wanted("customer_number", "data.old")), "");
  own("C-16");
  finish();
  EXPECT_EQ(links(), "p:linked");
  EXPECT_EQ(keys(), "1");
  EXPECT_EQ(ask("select action || ':' || subject from sluice.audit where action like "
                "'type.%attribute' order by audit_id"),
            "type.add_attribute:acme.person.customer_number "
            "type.drop_attribute:acme.person.customer_number "
            "type.add_attribute:acme.person.customer_number");
}

TEST_F(PathAttributes, without_a_key_one_is_shown_and_makes_none) {
  EXPECT_EQ(add(wanted("customer_number", "data.number", std::nullopt)), "");
  person("p", R"({"number": "C-17"})");
  finish();
  EXPECT_EQ(keys(), "0");
  EXPECT_EQ(ask("select count(*) from sluice.work where kind = 'keys.make'"), "0");
}

TEST_F(PathAttributes, what_cannot_be_one_is_refused_with_its_reason) {
  const auto with = [](const std::function<void(model::OwnAttribute&)>& change) {
    model::OwnAttribute attribute = wanted("fine", "data.a");
    change(attribute);
    return attribute;
  };
  const auto path = [&](const std::string& text) { return add(wanted("fine", text)); };
  for (const char* bad :
       {"data", "data.", "data..a", ".a", "name.a", "nothing.a", "extra", "d\n.a"})
    EXPECT_EQ(path(bad), "attribute.bad_path") << bad;
  for (const char* unseen : {"data.\u202ea", "data.a\u2028", "data.\u200b", "data.\x7f"})
    EXPECT_EQ(path(unseen), "attribute.bad_path") << unseen;
  EXPECT_EQ(path("data." + std::string(600, 'a')), "attribute.bad_path");
  EXPECT_EQ(path("data.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a"), "attribute.bad_path");
  EXPECT_EQ(add(with([](auto& one) { one.type = contract::AttributeType::integer; })),
            "attribute.cannot_have_path");
  EXPECT_EQ(add(with([](auto& one) { one.required = true; })), "attribute.cannot_have_path");
  EXPECT_EQ(add(with([](auto& one) { one.unique = true; })), "attribute.cannot_have_path");
  EXPECT_EQ(add(with([](auto& one) { one.format = "email"; })), "attribute.cannot_have_path");
  for (const char* taken : {"email", "name", "data"})
    EXPECT_EQ(add(wanted(taken, "data.a")), "attribute.name_taken") << taken;
  for (const char* reserved :
       {"id", "external_id", "extra", "connection", "connection_name", "ctid"})
    EXPECT_EQ(add(wanted(reserved, "data.a")), "attribute.reserved_name") << reserved;
  EXPECT_EQ(add(wanted("Bad", "data.a")), "attribute.bad_name");
  EXPECT_EQ(add(wanted("fine", "data.a"), "customer"), "attribute.path_of_own_type");
  EXPECT_EQ(add(wanted("fine", "data.a"), "acme.nothing"), "type.not_found");
  EXPECT_EQ(drop("email"), "attribute.of_connector");
  EXPECT_EQ(drop("number", "customer"), "attribute.of_own_type");
  EXPECT_EQ(ask("select count(*) from sluice.attribute where origin = 'user'"), "0");
  add_rule("email");  // its view's column is called customer_id
  EXPECT_EQ(add(wanted("customer_id", "data.a")), "attribute.name_taken");
  EXPECT_EQ(add(wanted("fine", "data.a")), "");
  EXPECT_EQ(add(wanted("fine", "data.b")), "attribute.name_taken");
}

TEST_F(PathAttributes, a_description_is_no_document) {
  json document = {{"name", "fine"}, {"path", "data.a"}, {"description", std::string(4000, 'd')}};
  EXPECT_TRUE(model::own_attribute_from_json(document));
  document["description"] = std::string(4001, 'd');
  const auto refused = model::own_attribute_from_json(document);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "type.bad_request");
}

TEST_F(PathAttributes, what_stands_in_personal_json_is_personal_also_when_that_comes_later) {
  const auto personal = [&](const std::string& name) {
    run(reload_catalog());
    return context_.catalog->find("acme.person")->find(name)->personal;
  };
  const auto document_is = [&](bool is) {
    run(superuser_pool().query(fmt::format(
        "update sluice.attribute a set personal = {} from sluice.entity_type t where t.type_id = "
        "a.type_id and t.name = 'acme.person' and a.name = 'data'",
        is)));
    run(reload_catalog());
  };
  document_is(false);
  EXPECT_EQ(add(wanted("first", "data.a")), "");
  EXPECT_EQ(add(wanted("beyond", "extra.a")), "");
  model::OwnAttribute said = wanted("said", "data.b");
  said.personal = true;
  EXPECT_EQ(add(said), "");
  EXPECT_FALSE(personal("first"));
  EXPECT_TRUE(personal("said"));
  document_is(true);
  EXPECT_TRUE(personal("first"));
  EXPECT_FALSE(personal("beyond"));
  EXPECT_EQ(add(wanted("second", "data.c")), "");
  EXPECT_TRUE(personal("second"));
  EXPECT_EQ(drop("second"), "");
  document_is(false);
  EXPECT_FALSE(personal("first"));
  EXPECT_TRUE(personal("said")) << "an admin's own word stays";
  EXPECT_EQ(ask("select split_part(subject, '.', 3) || ':' || (detail->>'personal') from "
                "sluice.audit where action like 'type.%attribute' order by audit_id"),
            "first:false beyond:false said:true second:true second:true");
}

TEST_F(PathAttributes, large_documents_of_a_page_are_all_looked_into) {
  EXPECT_EQ(add(wanted("customer_number", "data.number")), "");
  finish();
  const auto write_all = [&](const std::string& number) {
    auto built = page();
    for (int n = 0; n < 4; ++n) {
      const std::string large =
          fmt::format(R"({{"a": "{}", "number": "{}{}"}})", std::string(900'000, 'x'), number, n);
      built.record("person", fmt::format("p{}", n), {{"name", "Ann"}, {"data", large}});
    }
    EXPECT_EQ(write(built.page).quarantined, 0);
  };
  write_all("C-");
  EXPECT_EQ(keys(), "4");
  const std::string digests =
      "select string_agg(digest::text, ' ' order by entity_id) from sluice.link_key";
  const std::string first = ask(digests);
  write_all("D-");
  EXPECT_EQ(keys(), "4");
  EXPECT_NE(ask(digests), first);
}

TEST_F(PathAttributes, so_many_are_enough) {
  for (std::size_t n = 0; n < kPathAttributesMax; ++n)
    ASSERT_EQ(add(wanted(fmt::format("a{}", n), "data.a", std::nullopt)), "");
  EXPECT_EQ(add(wanted("more", "data.a")), "attribute.too_many");
  EXPECT_EQ(drop("a7"), "");
  EXPECT_EQ(add(wanted("more", "data.a")), "");
}

/// A newer version that has an attribute of that name itself.
TEST_F(PathAttributes, a_connector_takes_no_name_that_an_admin_gave_until_it_is_free) {
  EXPECT_EQ(add(wanted("tier", "data.tier")), "");
  person("p", R"({"tier": "gold"})");
  finish();
  // Its place in the manifest is another's already: it gets the next one.
  auto& declared = manifest_.entity_types[0].attributes;
  declared.insert(declared.begin(), ingest::attribute("grade", contract::AttributeType::text));
  run(reload());
  EXPECT_EQ(ask("select position from sluice.attribute where name = 'grade'"), "10")
      << "behind the connector's own";
  declared.push_back(ingest::attribute("tier", contract::AttributeType::integer));
  std::string refused;
  try {
    run(reload());
  } catch (const Failure& failure) {
    refused = failure.error().code;
  }
  EXPECT_EQ(refused, "type.attribute_added");
  EXPECT_EQ(keys(), "1");
  EXPECT_EQ(drop("tier"), "");
  run(reload());
  finish();
  EXPECT_EQ(keys(), "0");
  const model::StoredAttribute* const tier = context_.catalog->find("acme.person")->find("tier");
  ASSERT_NE(tier, nullptr);
  EXPECT_EQ(tier->type, contract::AttributeType::integer);
  EXPECT_TRUE(tier->path.empty());
  auto built = page();
  built.record("person", "q", {{"name", "Ann"}, {"tier", 3}});
  EXPECT_EQ(write(built.page).inserted, 1);
  EXPECT_EQ(ask("select tier from vendor.acme_person where external_id = 'q'"), "3");
}

/// The view's column, the key and PostgreSQL mean the same place.
TEST_F(PathAttributes, the_key_is_of_what_postgresql_finds_at_the_path) {
  const std::vector<std::string> documents = {
      R"({"a": {"b": "x", "1": "one"}, "c": [10, "20", [true, {"d": "deep"}]], "a.b": 1})",
      R"([{"a": "in a list"}, "two", 3])",
      R"({"a": "first", "a": {"b": "last"}})",
      R"({"\u0061": "escaped", "caf\u00e9": "\u00fc", "q\"": "\\", "": "no name"})",
      R"({"a":1.50,"c":[1e2,-0.0,12345678901234567890.5]})",
      R"("a text")",
      "null",
      R"({"a":null,"c":[]})"};
  const std::vector<std::vector<std::string>> paths = {
      {"a"},       {"a", "b"}, {"a", "1"},      {"c", "0"},    {"c", "1"},
      {"c", "-1"}, {"c", "3"}, {"c", "2", "0"}, {"c", "+1"},   {"c", "2", "1", "d"},
      {"0"},       {"0", "a"}, {"1"},           {"caf\u00e9"}, {"q\""},
      {"c", "x"},  {"-4"},     {"c", " 1"},     {"c", "2"},    {"c", "99999999999"}};
  int found_some = 0;
  for (const std::string& document : documents) {
    for (const auto& path : paths) {
      model::StoredAttribute attribute;
      attribute.path.push_back("doc");
      attribute.path.insert(attribute.path.end(), path.begin(), path.end());
      const std::string sql =
          fmt::format("select ({})::text from (select $1::text::jsonb as doc) t",
                      model::json_at_path(attribute, "t"));
      const auto rows = run(pool().query(sql, pg::Params(document)));
      std::optional<std::string> theirs;
      if (!rows.is_null(0, 0)) theirs = link::text_inside(rows.text(0, 0));
      EXPECT_EQ(link::text_inside(document, path), theirs)
          << document << " at " << model::joined_path(attribute.path);
      found_some += theirs ? 1 : 0;
    }
  }
  EXPECT_GT(found_some, 20);
}

TEST_F(PathAttributes, the_sql_view_has_a_column_of_it_that_comes_and_goes) {
  person("p", R"({"number": 17, "list": [1]})");
  person("q", R"({"number": "it's"})");
  const auto refresh = [](pg::Pool& pool, model::CatalogPtr catalog) -> Task<std::size_t> {
    auto lease = co_await pool.acquire();
    const auto stale = co_await feed::refresh_views(*lease, *catalog, "w");
    co_return stale.size();
  };
  EXPECT_EQ(add(wanted("customer_number", "data.number")), "");
  EXPECT_EQ(add(wanted("list", "data.list", std::nullopt)), "");
  EXPECT_EQ(run(refresh(pool(), context_.catalog)), 0U);
  EXPECT_EQ(ask("select concat_ws('/', external_id, customer_number, list) from w.acme_person "
                "order by external_id"),
            "p/17 q/it's");
  EXPECT_EQ(drop("customer_number"), "");
  EXPECT_EQ(run(refresh(pool(), context_.catalog)), 0U);
  EXPECT_EQ(ask("select count(*) from information_schema.columns where table_schema = 'w' and "
                "column_name = 'customer_number'"),
            "0");
}

TEST_F(PathAttributes, a_column_that_comes_under_the_name_of_one_that_went_is_not_described_by_it) {
  const auto refresh = [](pg::Pool& pool, model::CatalogPtr catalog) -> Task<std::size_t> {
    auto lease = co_await pool.acquire();
    const auto stale = co_await feed::refresh_views(*lease, *catalog, "w");
    co_return stale.size();
  };
  const auto described = [&] {
    run(reload_catalog());
    EXPECT_EQ(run(refresh(pool(), context_.catalog)), 0U);
    return ask(
        "select d.description from pg_description d join pg_attribute a on a.attrelid = d.objoid "
        "and a.attnum = d.objsubid where d.objoid = 'w.acme_person'::regclass and a.attname = "
        "'customer_id'");
  };
  EXPECT_EQ(add(wanted("customer_id", "data.a", std::nullopt)), "");
  EXPECT_EQ(described(), "what the vendor has at data.a");
  EXPECT_EQ(drop("customer_id"), "");
  EXPECT_EQ(described(), "");
  add_rule("email");  // its view's column is called so
  EXPECT_EQ(described(), "the Sluice id of the row that it is linked to, by link rules");
}

}  // namespace
}  // namespace sluice::sync
