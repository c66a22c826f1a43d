#include "feed/entities.hpp"

#include <gtest/gtest.h>

#include <set>

#include "base/exact_json.hpp"
#include "feed/entity_query.hpp"
#include "feed/page_bytes.hpp"
#include "link/normalise.hpp"
#include "pg/feed/world.hpp"

namespace sluice::feed {
namespace {

using nlohmann::json;

class EntitiesTest : public sluice::testing::FeedWorld {
 protected:
  void SetUp() override {
    FeedWorld::SetUp();
    customer("cus_1", "a@x.com");
    customer("cus_2", "b@x.com");
    own_ = own("a@x.com");
    link("cus_1", own_);
    invoice("in_1", "cus_1", 100);
    invoice("in_2", "cus_1", 200);
    invoice("in_3", "cus_missing", 300);
    sql("update vendor.acme_invoice set paid = false where external_id = 'in_2'");
  }
  Result<EntityPage> list(std::string type,
                          std::vector<std::pair<std::string, std::string>> filters = {},
                          std::vector<std::string> expand = {}) {
    ListQuery query;
    for (auto& [left, right] : filters)
      query.filters.push_back(expect(parse_filter(left, {right})));
    query.expand = std::move(expand);
    return run(list_entities(pool(), catalog_, std::move(type), query));
  }
  /// External ids of a page, or the code of the refusal.
  std::string ids(std::string type, std::vector<std::pair<std::string, std::string>> filters) {
    const auto page = list(std::move(type), std::move(filters));
    if (!page) return page.error().code;
    std::string out;
    for (const json& entity : page->entities) {
      out +=
          (out.empty() ? "" : " ") +
          (entity["external_id"].is_null() ? entity["attributes"]["email"] : entity["external_id"])
              .get<std::string>();
    }
    return out;
  }
  Result<json> get(std::string type, std::string external_id,
                   std::vector<std::string> expand = {}) {
    EntityRef reference;
    reference.external_id = std::move(external_id);
    return run(get_entity(pool(), catalog_, std::move(type), reference, std::move(expand)));
  }
  EntityId own_;
};

TEST_F(EntitiesTest, AnEntityIsTypedJsonWithLinksAndProvenance) {
  const auto invoice = get("acme.invoice", "in_1");
  ASSERT_TRUE(invoice);
  EXPECT_EQ(
      json::parse(write_json((*invoice)["attributes"])),
      json::parse(
          R"({"number":"N-in_1","customer":"cus_1","total":100,"rate":"12.5","score":0.5,"paid":true,
                "created":"2026-01-02T03:04:05.500000Z","due":"2026-02-01","lines":[1],"hash":"00ff","memo":null})"));
  EXPECT_EQ((*invoice)["type"], "acme.invoice");
  EXPECT_TRUE((*invoice)["id"].is_string());
  EXPECT_EQ((*invoice)["provenance"]["connection"], "main");
  EXPECT_FALSE(invoice->contains("expanded"));
  const auto customer = get("acme.customer", "cus_1");
  EXPECT_EQ((*customer)["links"]["acme.customer.email"]["target_id"], id_text(own_));
  EXPECT_EQ((*customer)["links"]["acme.customer.email"]["state"], "linked");
}

TEST_F(EntitiesTest, AFilterFollowsEdgesEitherWay) {
  EXPECT_EQ(ids("acme.invoice", {{"customer.email", "a@x.com"}}), "in_1 in_2");
  EXPECT_EQ(ids("acme.invoice", {{"customer.email[ne]", "a@x.com"}}), "")
      << "in_3's customer is not there";
  EXPECT_EQ(ids("acme.invoice", {{"customer.customer.seats", "5"}, {"paid", "false"}}), "in_2")
      << "over a reference and a link";
  EXPECT_EQ(ids("acme.invoice", {{"customer.link.acme.customer.email.seats[gt]", "5"}}), "");
  EXPECT_EQ(ids("acme.invoice", {{"customer.customer.email", "a@x.com"}}), "in_1 in_2");
  EXPECT_EQ(ids("acme.customer", {{"invoice.total[gte]", "200"}}), "cus_1");
  EXPECT_EQ(ids("acme.customer", {{"invoice.external_id", "in_1"}}), "cus_1");
  EXPECT_EQ(ids("customer", {{"acme.customer.invoice.paid", "false"}}), "a@x.com");
  EXPECT_EQ(ids("acme.invoice", {{"customer.connection", "main"}, {"total[lt]", "200"}}), "in_1");
  EXPECT_EQ(ids("acme.customer", {{"invoice.total[gt]", "150"}, {"invoice.total[lt]", "150"}}), "")
      << "one invoice has more and another one less, and none both";
  EXPECT_EQ(ids("acme.customer", {{"invoice.total", "200"}, {"invoice.paid", "false"}}), "cus_1");
  EXPECT_EQ(ids("acme.customer", {{"invoice.total", "100"}, {"invoice.paid", "false"}}), "");
  EXPECT_EQ(ids("acme.invoice", {{"customer.plan", "x"}}), "filter.unknown_attribute");
  EXPECT_EQ(ids("acme.invoice", {{"nothing.plan", "x"}}), "filter.unknown_path");
  EXPECT_EQ(ids("acme.invoice", {{".email", "x"}}), "filter.unknown_path");
  sql("update vendor.acme_customer set deleted_at = now() where external_id = 'cus_1'");
  EXPECT_EQ(ids("acme.invoice", {{"customer.email", "a@x.com"}}), "") << "it is deleted";
}

/// Whoever misspells a value or a path is told so, and not only that there is nothing.
TEST_F(EntitiesTest, AnEmptyListSaysWhatItsFiltersNameAndNoRowHas) {
  sql("update vendor.acme_invoice set memo = case external_id when 'in_1' then 'open' when 'in_2' "
      "then 'paid' end, extra = '{\"shipping\": {\"carrier\": \"post\"}, \"gift\": true}'");
  using Filters = std::vector<std::pair<std::string, std::string>>;
  const auto hints = [this](const std::string& type, const Filters& filters) {
    const auto page = list(type, filters);
    std::string all;
    for (const std::string& hint : page->hints) all += (all.empty() ? "" : " / ") + hint;
    return all;
  };
  EXPECT_EQ(hints("acme.invoice", {{"memo", "opne"}}),
            "memo: none of the 3 acme.invoice that were looked at is 'opne'; they are open, paid. "
            "Did you mean 'open'?");
  EXPECT_EQ(hints("acme.invoice", {{"memo", "open"}, {"total", "200"}}), "")
      << "each is there, and not together";
  EXPECT_EQ(hints("acme.invoice", {{"memo", "open"}}), "") << "it is not empty";
  EXPECT_EQ(hints("acme.customer", {{"invoice.memo", "piad"}}),
            "memo: none of the 3 acme.invoice that were looked at is 'piad'; they are open, paid. "
            "Did you mean 'paid'?");
  EXPECT_EQ(hints("acme.invoice", {{"extra.shiping.carrier", "post"}}),
            "extra: none of the 3 acme.invoice that were looked at has 'shiping' in extra; they "
            "have gift, shipping. Did you mean 'shipping'?");
  EXPECT_EQ(hints("acme.invoice", {{"extra.shipping.carier", "post"}}),
            "extra: none of the 3 acme.invoice that were looked at has 'carier' in extra.shipping; "
            "they have carrier. Did you mean 'carrier'?");
  EXPECT_EQ(hints("acme.invoice", {{"extra.gift.of", "post"}}),
            "extra: none of the 3 acme.invoice that were looked at has 'of' in extra.gift");
  EXPECT_EQ(hints("acme.invoice", {{"extra.shipping.carrier", "ship"}}), "") << "the path is there";
  EXPECT_EQ(hints("acme.invoice", {{"lines.0.a", "x"}}), "") << "a list has no names";
  sql("update vendor.acme_invoice set extra = (select jsonb_build_object('shiping', "
      "string_agg(md5(i::text), '')) from generate_series(1, 3000) i) where external_id = 'in_3'");
  EXPECT_EQ(hints("acme.invoice", {{"extra.shiping.carrier", "post"}}),
            "extra: none of the 2 acme.invoice that were looked at has 'shiping' in extra; they "
            "have gift, shipping. Did you mean 'shipping'?")
      << "what is large is not looked into";
  std::string deep = "extra";
  for (int i = 0; i < 21; ++i) deep += ".a";
  EXPECT_EQ(hints("acme.invoice", {{deep, "x"}}), "") << "nobody looks so deep";
  auto with_personal = std::make_shared<model::Catalog>(*catalog_);
  for (model::StoredType& type : with_personal->types) {
    for (model::StoredAttribute& one : type.attributes)
      one.personal = type.name == "acme.invoice" && one.name == "memo";
  }
  const auto without = std::exchange(catalog_, with_personal);
  EXPECT_EQ(hints("acme.invoice", {{"memo", "opne"}}), "") << "personal values are not shown";
  catalog_ = without;
  sql("update vendor.acme_invoice set memo = repeat('x', 100) where external_id = 'in_3'");
  EXPECT_EQ(
      hints("acme.invoice", {{"memo", "opne"}}),
      "memo: none of the 3 acme.invoice that were looked at is 'opne'; they are open, paid, " +
          std::string(60, 'x') + "…. Did you mean 'open'?");
  sql("update vendor.acme_invoice set memo = null");
  EXPECT_EQ(hints("acme.invoice", {{"memo", "opne"}}),
            "memo: none of the 3 acme.invoice that were looked at is 'opne'");
  sql("update vendor.acme_invoice set deleted_at = now()");
  EXPECT_EQ(hints("acme.invoice", {{"memo", "opne"}}), "the workspace has no acme.invoice");
  EXPECT_EQ(hints("acme.invoice", {{"extra.shipping.carrier", "post"}}),
            "the workspace has no acme.invoice");
}

TEST_F(EntitiesTest, OfManyValuesNoneIsSuggested) {
  for (int i = 0; i < kSampledValuesMax + 1; ++i) {
    invoice(fmt::format("in_m{}", i), "cus_1", 1);
    sql(fmt::format("update vendor.acme_invoice set memo = 'm{0}' where external_id = 'in_m{0}'",
                    i));
  }
  const auto page = list("acme.invoice", {{"memo", "m99"}});
  EXPECT_TRUE(page->entities.empty());
  EXPECT_TRUE(page->hints.empty());
}

/// Few or none pass such a filter, of however many: they are found from its other side, and it is
/// the same whether that is done or not.
TEST_F(EntitiesTest, AFilterAcrossEdgesMayBeginAtItsOtherSide) {
  link("cus_2", own("b@x.com"));
  invoice("in_4", "cus_2", 400);
  sql("update vendor.acme_invoice set deleted_at = now() where external_id = 'in_1'");
  using Filters = std::vector<std::pair<std::string, std::string>>;
  const auto query_of = [](const Filters& filters) {
    ListQuery query;
    for (const auto& [left, right] : filters)
      query.filters.push_back(expect(parse_filter(left, {right})));
    return query;
  };
  /// What is found from there; "-" before it where all rows there are read for it.
  const auto from_far = [&](const char* type, const Filters& filters, std::int64_t most = 50) {
    ListQuery query = query_of(filters);
    query.reach.reached = most;
    auto ends = far_ends(*catalog_, *catalog_->find(type), query);
    if (!ends) return ends.error().code;
    std::string out;
    for (FarEnd& end : *ends) {
      out += out.empty() ? "" : " | ";
      out += end.indexed ? "" : "-";
      const auto rows = run(pool().query(end.query.sql, std::move(end.query.params)));
      if (rows.get<std::int64_t>(0, 0) > most) out += "too many";
      std::set<std::string> names;
      for (int row = 0; row < rows.rows(); ++row) {
        if (rows.is_null(row, 1)) continue;
        const std::string id = std::to_string(rows.get<std::int64_t>(row, 1));
        names.insert(
            text("select external_id from vendor.acme_invoice where id = " + id +
                 " union all select external_id from vendor.acme_customer where id = " + id +
                 " union all select data->>'email' from sluice.own_entity where id = " + id));
      }
      for (const std::string& name : names)
        out += (out.ends_with("-") || out.empty() ? "" : " ") + name;
    }
    return out;
  };
  EXPECT_EQ(from_far("acme.invoice", {{"customer.email", "a@x.com"}}), "-in_1 in_2");
  EXPECT_EQ(from_far("acme.invoice", {{"customer.external_id", "cus_2"}}), "in_4");
  EXPECT_EQ(from_far("acme.invoice", {{"customer.customer.seats", "5"}}), "-in_1 in_2 in_4");
  EXPECT_EQ(from_far("acme.invoice", {{"customer.customer.email", "b@x.com"}}), "in_4");
  EXPECT_EQ(from_far("acme.customer", {{"invoice.total[gte]", "150"}}), "-cus_1 cus_2");
  EXPECT_EQ(from_far("customer", {{"acme.customer.invoice.total", "400"}}), "-b@x.com");
  EXPECT_EQ(from_far("customer", {{"acme.customer.email", "nobody"}}), "-");
  EXPECT_EQ(from_far("acme.invoice", {{"customer.email[like]", "*"}}, 2), "-too many");
  EXPECT_EQ(from_far("acme.invoice", {{"customer.email[like]", "*"}}, 3), "-in_1 in_2 in_4");
  EXPECT_EQ(from_far("acme.invoice", {{"customer", "cus_1"}, {"customer.email", "a@x.com"}}), "")
      << "they are found by an index";
  EXPECT_EQ(from_far("acme.invoice", {{"customer.plan", "x"}}), "filter.unknown_attribute");

  const std::pair<const char*, Filters> all[] = {
      {"acme.invoice", {{"customer.email", "a@x.com"}}},
      {"acme.invoice", {{"customer.email[ne]", "a@x.com"}}},
      {"acme.invoice", {{"customer.email", "nobody"}}},
      {"acme.invoice", {{"customer.customer.seats[gte]", "5"}, {"total[gt]", "200"}}},
      {"acme.invoice", {{"customer.customer.email", "b@x.com"}, {"customer.email", "b@x.com"}}},
      {"acme.invoice", {{"customer.customer.email", "a@x.com"}, {"customer.email", "b@x.com"}}},
      {"acme.customer", {{"invoice.total[lt]", "1000"}}},
      {"acme.customer", {{"invoice.paid", "false"}}},
      {"customer", {{"acme.customer.invoice.paid", "false"}}},
      {"customer", {{"acme.customer.external_id", "cus_2"}}},
  };
  int found = 0;
  for (const auto& [type, filters] : all) {
    for (const Tombstones deleted : {Tombstones::exclude, Tombstones::include, Tombstones::only}) {
      for (const char* sort : {"", "-id"}) {
        std::vector<std::string> answers;
        // As it is; from there at once; nothing found there may be many; no row there may be read.
        for (const ReachLimits limits : {ReachLimits{}, ReachLimits{1, 50, 50},
                                         ReachLimits{1, 0, 50}, ReachLimits{1, 50, -1}}) {
          ListQuery query = query_of(filters);
          query.reach = limits;
          query.tombstones = deleted;
          query.limit = 1;
          if (*sort != 0) query.sort = expect(parse_sort(sort));
          query.count = limits.walked == 1;
          std::string& answer = answers.emplace_back();
          std::int64_t rows = 0, counted = 0;
          do {
            const auto page = run(list_entities(pool(), catalog_, type, query));
            ASSERT_TRUE(page) << page.error().describe();
            if (page->count) counted = page->count->rows;
            for (const json& entity : page->entities) {
              answer += entity["id"].get<std::string>() + " ";
              ++rows;
            }
            query.cursor = page->cursor;
          } while (!query.cursor.empty());
          EXPECT_EQ(counted, query.count ? rows : 0) << filters[0].first;
        }
        for (const std::string& answer : answers)
          EXPECT_EQ(answer, answers[0]) << type << " " << filters[0].first << " " << sort;
        found += answers[0].empty() ? 0 : 1;
      }
    }
  }
  EXPECT_GE(found, 20) << "what finds nothing proves nothing";
}

TEST_F(EntitiesTest, TextIsFoundByAPartOfItAndTimesByTheirDay) {
  EXPECT_EQ(ids("acme.customer", {{"email[like]", "A@*"}}), "cus_1");
  EXPECT_EQ(ids("acme.customer", {{"email[like]", "*X.com"}}), "cus_1 cus_2");
  EXPECT_EQ(ids("acme.customer", {{"email[like]", "a"}}), "");
  EXPECT_EQ(ids("acme.customer", {{"external_id[like]", "CUS%"}}), "") << "no wildcard of ours";
  EXPECT_EQ(ids("acme.customer", {{"external_id[like]", "CUS_*"}}), "cus_1 cus_2");
  EXPECT_EQ(ids("customer", {{"email[like]", "*@X*"}}), "a@x.com");
  EXPECT_EQ(ids("acme.invoice", {{"total[like]", "1*"}}), "filter.unsupported");
  EXPECT_EQ(ids("acme.customer", {{"created", "2026-01-02"}}), "cus_1 cus_2");
  EXPECT_EQ(ids("acme.customer", {{"created[gte]", "2026-01-02"}}), "cus_1 cus_2");
  EXPECT_EQ(ids("acme.customer", {{"created[lte]", "2026-01-02"}}), "cus_1 cus_2");
  EXPECT_EQ(ids("acme.customer", {{"created[gt]", "2026-01-02"}}), "");
  EXPECT_EQ(ids("acme.customer", {{"created[lt]", "2026-01-02"}}), "");
  EXPECT_EQ(ids("acme.customer", {{"created[ne]", "2026-01-02"}}), "");
  EXPECT_EQ(ids("acme.customer", {{"created[gt]", "2026-02-30"}}), "filter.bad_value");
  sql("update vendor.acme_customer set created = now() - interval '3 days' where external_id = "
      "'cus_2'");
  EXPECT_EQ(ids("acme.customer", {{"created[gte]", "-7d"}, {"created[lt]", "-2d"}}), "cus_2");
  EXPECT_EQ(ids("acme.customer", {{"created[lt]", "now"}}), "cus_1 cus_2");
  EXPECT_EQ(ids("acme.customer", {{"created[gt]", "now"}}), "");
  EXPECT_EQ(ids("acme.customer", {{"created[gte]", "-7x"}}), "filter.bad_value");
  EXPECT_EQ(ids("acme.customer", {{"created[gte]", "-52000w"}}), "cus_1 cus_2");
  for (const char* long_ago : {"-400000w", "-99999999999999999999d"}) {
    const auto refused = list("acme.customer", {{"created[gte]", long_ago}});
    ASSERT_FALSE(refused) << long_ago;
    EXPECT_EQ(refused.error().code, "filter.bad_value");
    EXPECT_NE(refused.error().message.find("more than a thousand years ago"), std::string::npos)
        << refused.error().describe();
  }
  EXPECT_EQ(ids("acme.customer", {{"created[lte]", "9999-12-31"}}), "cus_1 cus_2");
  EXPECT_EQ(ids("acme.customer", {{"created[gte]", "0001-01-01"}}), "cus_1 cus_2");
}

TEST_F(EntitiesTest, APageMayBeSortedCountedAndNarrowed) {
  invoice("in_4", "cus_2", 200);
  sql("update vendor.acme_invoice set total = null where external_id = 'in_1'");
  const auto walk = [&](const char* keys, int limit) {
    ListQuery query;
    query.sort = expect(parse_sort(keys));
    query.limit = limit;
    std::string out;
    do {
      const auto page = run(list_entities(pool(), catalog_, "acme.invoice", query));
      if (!page) return page.error().code;
      for (const json& entity : page->entities)
        out += (out.empty() ? "" : " ") + entity["external_id"].get<std::string>();
      query.cursor = page->cursor;
    } while (!query.cursor.empty());
    return out;
  };
  for (const int limit : {1, 2, 3, 50}) {
    EXPECT_EQ(walk("total", limit), "in_2 in_4 in_3 in_1") << limit;
    EXPECT_EQ(walk("-total", limit), "in_3 in_2 in_4 in_1") << limit;
    EXPECT_EQ(walk("total,-external_id", limit), "in_4 in_2 in_3 in_1") << limit;
    EXPECT_EQ(walk("-created,number", limit), "in_1 in_2 in_3 in_4") << limit;
    EXPECT_EQ(walk("-id", limit), "in_4 in_3 in_2 in_1") << limit;
    EXPECT_EQ(walk("paid,rate", limit), "in_2 in_1 in_3 in_4") << limit;
    EXPECT_EQ(walk("score,due", limit), "in_1 in_2 in_3 in_4") << limit;
    EXPECT_EQ(walk("memo,total", limit), "in_2 in_4 in_3 in_1") << limit;
  }
  EXPECT_EQ(walk("lines", 2), "sort.unsupported");
  EXPECT_EQ(walk("nothing", 2), "sort.unknown_attribute");
  EXPECT_FALSE(parse_sort("a,b,c"));
  EXPECT_FALSE(parse_sort("-"));

  ListQuery query;
  query.count = true;
  query.limit = 1;
  query.fields = {"total", "number"};
  query.filters.push_back(expect(parse_filter("total[gte]", {"200"})));
  auto page = run(list_entities(pool(), catalog_, "acme.invoice", query));
  ASSERT_TRUE(page) << page.error().describe();
  EXPECT_EQ(page->count->rows, 3);
  EXPECT_TRUE(page->count->exact);
  EXPECT_EQ(page->entities.at(0)["attributes"], json::parse(R"({"number":"N-in_2","total":200})"));
  // A cursor of another order, and one that somebody made up.
  query.cursor = page->cursor;
  query.sort = expect(parse_sort("total"));
  EXPECT_EQ(run(list_entities(pool(), catalog_, "acme.invoice", query)).error().code,
            "entity.bad_cursor");
  query.fields = {"nothing"};
  query.cursor.clear();
  EXPECT_EQ(run(list_entities(pool(), catalog_, "acme.invoice", query)).error().code,
            "fields.unknown_attribute");
}

/// Also where the attribute is not unique: a vendor's never is.
TEST_F(EntitiesTest, AnAddressIsComparedByItsNormalForm) {
  const auto keyed = [&](const std::string& table, const std::string& external_id,
                         const std::string& address) {
    const auto form = sluice::link::normalise(contract::KeyKind::email, address).value();
    const pg::Uuid digest = sluice::link::digest(contract::KeyKind::email, form);
    pg::Params params(workspace_, digest, external_id);
    run(
        pool().query("insert into sluice.link_key (workspace_id, kind, digest, type_id, attribute, "
                     "entity_id) select $1, 1, $2, t.type_id, 0, e.id from sluice.entity_type t, "
                     "vendor." +
                         table + " e where t.workspace_id = $1 and t.relation = 'vendor." + table +
                         "' and e.workspace_id = $1 and e.external_id = $3",
                     std::move(params)));
  };
  customer("cus_3", "C@X.Com");
  keyed("acme_customer", "cus_1", "a@x.com");
  keyed("acme_customer", "cus_3", "C@X.Com");
  EXPECT_EQ(ids("acme.customer", {{"email", " A@x.COM"}}), "cus_1");
  EXPECT_EQ(ids("acme.customer", {{"email", "c@x.com"}}), "cus_3");
  EXPECT_EQ(ids("acme.customer", {{"email", "b@x.com"}}), "cus_2") << "its key is not made yet";
  EXPECT_EQ(ids("acme.customer", {{"email[ne]", "c@x.com"}}), "cus_1 cus_2");
  EXPECT_EQ(ids("acme.customer", {{"email[ne]", "nobody"}}), "cus_1 cus_2 cus_3");
  EXPECT_EQ(ids("acme.invoice", {{"customer.email", "A@X.com"}}), "in_1 in_2");
  ListQuery several;
  several.filters.push_back(expect(parse_filter("email[in]", {"A@X.com", "c@x.com", "no"})));
  EXPECT_EQ(run(list_entities(pool(), catalog_, "acme.customer", several))->entities.size(), 2U);
}

TEST_F(EntitiesTest, SeveralAddressesAndAllButOneAreComparedAsOneIs) {
  own("b@x.com");
  const auto any_of = [&](std::vector<std::string> values) {
    ListQuery several;
    several.filters.push_back(expect(parse_filter("email[in]", std::move(values))));
    const auto found = run(list_entities(pool(), catalog_, "customer", several));
    std::string all;
    for (const json& one : found->entities)
      all += one["attributes"]["email"].get<std::string>() + " ";
    return all;
  };
  EXPECT_EQ(any_of({" A@X.com", "nobody@x.com"}), "a@x.com ");
  EXPECT_EQ(any_of({"B@x.com", "A@x.com", "a@X.com"}), "a@x.com b@x.com ");
  EXPECT_EQ(ids("customer", {{"email[ne]", "A@X.com"}}), "b@x.com");
  EXPECT_EQ(ids("customer", {{"email[ne]", "A@X.com"}, {"email", "B@X.com"}}), "b@x.com");
  EXPECT_EQ(ids("acme.invoice", {{"customer.customer.email[ne]", "A@X.com"}}), "");
  EXPECT_EQ(ids("acme.invoice", {{"customer.customer.email[in]", "A@X.com"}}), "in_1 in_2");
}

TEST_F(EntitiesTest, FiltersAreTypedAndBound) {
  EXPECT_EQ(ids("acme.invoice", {{"total", "200"}}), "in_2");
  EXPECT_EQ(ids("acme.invoice", {{"total[gte]", "200"}}), "in_2 in_3");
  EXPECT_EQ(ids("acme.invoice", {{"total[gt]", "100"}, {"total[lt]", "300"}}), "in_2");
  EXPECT_EQ(ids("acme.invoice", {{"total[ne]", "100"}, {"total[lte]", "300"}}), "in_2 in_3");
  EXPECT_EQ(ids("acme.invoice", {{"paid", "false"}}), "in_2");
  EXPECT_EQ(ids("acme.invoice", {{"customer", "cus_1"}}), "in_1 in_2");
  EXPECT_EQ(ids("acme.invoice", {{"rate[gt]", "12.4"}, {"score", "0.5"}}), "in_1 in_2 in_3");
  EXPECT_EQ(ids("acme.invoice", {{"created[lt]", "2026-01-02T04:04:05+01:00"}}), "");
  EXPECT_EQ(
      ids("acme.invoice", {{"created[gt]", "2026-01-02T04:04:05+01:00"}, {"due", "2026-02-01"}}),
      "in_1 in_2 in_3");
  EXPECT_EQ(ids("acme.invoice", {{"memo[is_null]", "true"}, {"external_id", "in_3"}}), "in_3");
  EXPECT_EQ(ids("acme.invoice", {{"connection", "main"}, {"number", "N-in_1"}}), "in_1");
  EXPECT_EQ(ids("acme.invoice", {{"number", "' or true --"}}), "");
  EXPECT_EQ(ids("acme.customer", {{"link.acme.customer.email", std::to_string(own_.value)}}),
            "cus_1");
  EXPECT_EQ(ids("customer", {{"email", "a@x.com"}}), "a@x.com");
  EXPECT_EQ(ids("customer", {{"email", " A@X.com"}}), "a@x.com") << "by what it is unique by";
  sql("update sluice.own_unique set value = 'A@x.com' where value = 'a@x.com'");
  EXPECT_EQ(ids("customer", {{"email", "A@x.com"}}), "a@x.com") << "before its form is made";
  sql("delete from sluice.own_unique where value = 'A@x.com'; insert into sluice.own_shared select "
      "workspace_id, type_id, 'email', 'a@x.com', id from sluice.own_entity where data->>'email' = "
      "'a@x.com'");
  EXPECT_EQ(ids("customer", {{"email", "A@x.com"}}), "a@x.com") << "of several that share it";
  sql("insert into sluice.own_unique select * from sluice.own_shared; delete from "
      "sluice.own_shared");
  EXPECT_EQ(ids("customer", {{"seats[gt]", "4"}}), "a@x.com");
  EXPECT_EQ(ids("customer", {{"seats[gt]", "5"}}), "");
  ListQuery query;
  query.filters.push_back(expect(parse_filter("total[in]", {"100", "300"})));
  EXPECT_EQ(run(list_entities(pool(), catalog_, "acme.invoice", query))->entities.size(), 2u);
}

TEST_F(EntitiesTest, ABadFilterNamesTheAttribute) {
  EXPECT_EQ(ids("acme.invoice", {{"total", "many"}}), "filter.bad_value");
  EXPECT_NE(list("acme.invoice", {{"total", "many"}}).error().message.find("total"),
            std::string::npos);
  EXPECT_EQ(ids("acme.invoice", {{"due", "2026-02-30"}}), "filter.bad_value");
  EXPECT_EQ(ids("acme.invoice", {{"rate", "1e9"}}), "filter.bad_value");
  EXPECT_EQ(ids("acme.invoice", {{"colour", "1"}}), "filter.unknown_attribute");
  EXPECT_EQ(ids("acme.invoice", {{"lines", "1"}}), "filter.unsupported");
  EXPECT_EQ(ids("nothing", {}), "type.not_found");
  EXPECT_EQ(parse_filter("total[matches]", {"1"}).error().code, "filter.bad_operator");
  EXPECT_EQ(parse_filter("total[", {"1"}).error().code, "filter.bad_operator");
}

TEST_F(EntitiesTest, PagesFollowEachOther) {
  ListQuery query;
  query.limit = 2;
  const auto first = run(list_entities(pool(), catalog_, "acme.invoice", query));
  ASSERT_TRUE(first);
  EXPECT_EQ(first->entities.size(), 2u);
  query.cursor = first->cursor;
  const auto second = run(list_entities(pool(), catalog_, "acme.invoice", query));
  ASSERT_EQ(second->entities.size(), 1u);
  EXPECT_EQ(second->entities[0]["external_id"], "in_3");
  EXPECT_EQ(second->cursor, "");
  EXPECT_EQ(run(list_entities(pool(), catalog_, "acme.customer", query)).error().code,
            "entity.bad_cursor");
  query.cursor = "zzz";
  EXPECT_EQ(run(list_entities(pool(), catalog_, "acme.invoice", query)).error().code,
            "entity.bad_cursor");
}

/// Walks through all pages; each is full of bytes by its last entity at most.
TEST_F(EntitiesTest, APageOfLargeEntitiesEndsWhereItIsFull) {
  // Of every kind: text, JSON that compresses and JSON that does not, bytes, and one that is larger
  // than a page by itself.
  sql("insert into vendor.acme_invoice (workspace_id, connection_id, external_id, content_hash, "
      "memo, lines, hash) select {w}, {c}, 'large_' || n, gen_random_uuid(), "
      "case n % 4 when 0 then repeat('m', 700000) end, "
      "case n % 4 when 1 then to_jsonb(repeat('l', 700000)) when 2 then (select "
      "to_jsonb(string_agg(md5(i::text), '')) from generate_series(1, 22000) i) end, "
      "case n % 4 when 3 then decode(repeat('00', 350000), 'hex') end "
      "from generate_series(1, 30) n; "
      "update vendor.acme_invoice set memo = repeat('m', 5000000) where external_id = 'large_12'");
  for (const std::vector<std::string>& filter :
       {std::vector<std::string>{}, std::vector<std::string>{"connection", "main"}}) {
    ListQuery query;
    query.limit = kEntityPageMax;
    if (!filter.empty()) query.filters.push_back(expect(parse_filter(filter[0], {filter[1]})));
    std::vector<std::string> seen;
    int pages = 0;
    do {
      auto page = run(list_entities(pool(), catalog_, "acme.invoice", query));
      ASSERT_TRUE(page) << page.error().describe();
      ASSERT_FALSE(page->entities.empty()) << "one at least";
      std::size_t before_the_last = 0;
      for (std::size_t n = 0; n < page->entities.size(); ++n) {
        seen.push_back(page->entities[n]["external_id"]);
        if (n + 1 < page->entities.size()) before_the_last += write_json(page->entities[n]).size();
      }
      EXPECT_LE(before_the_last, kPageBytes);
      query.cursor = page->cursor;
      ++pages;
    } while (!query.cursor.empty() && pages < 40);
    EXPECT_EQ(seen.size(), 33U);
    EXPECT_EQ(std::set(seen.begin(), seen.end()).size(), 33U) << "each once";
    EXPECT_EQ(seen.back(), "large_30");
    EXPECT_GE(pages, 5);
    EXPECT_LE(pages, 9) << "and a page is full";
  }
}

TEST_F(EntitiesTest, WhatTheVendorSentBeyondTheAttributesIsShownAndFound) {
  sql("update vendor.acme_invoice set extra = '{\"shipping\": {\"carrier\": \"post\", \"n\": "
      "1.50}, \"gift\": true}', lines = '{\"order\": {\"id\": 17}}' where external_id = 'in_1';"
      "update vendor.acme_invoice set extra = '{\"shipping\": {\"carrier\": null}}' where "
      "external_id = 'in_2'");
  const auto one = get("acme.invoice", "in_1");
  ASSERT_TRUE(one);
  EXPECT_EQ(json::parse(write_json((*one)["extra"])),
            json::parse(R"({"gift": true, "shipping": {"carrier": "post", "n": 1.5}})"));
  EXPECT_NE(write_json(*one).find("1.50"), std::string::npos) << "with its digits";
  EXPECT_FALSE((*one)["attributes"].contains("extra"));
  EXPECT_TRUE((*get("acme.invoice", "in_3"))["extra"].is_null());
  EntityRef own;
  own.id = own_;
  EXPECT_FALSE(run(get_entity(pool(), catalog_, "customer", own))->contains("extra"));

  EXPECT_FALSE(list("acme.invoice")->entities[0].contains("extra")) << "where it is asked for";
  ListQuery query;
  query.fields = {"number", "extra"};
  const auto page = run(list_entities(pool(), catalog_, "acme.invoice", query));
  ASSERT_TRUE(page) << page.error().describe();
  ASSERT_EQ(page->entities.size(), 3U);
  EXPECT_EQ(json::parse(write_json(page->entities[0]["attributes"])),
            json::parse(R"({"number": "N-in_1"})"));
  EXPECT_EQ(json::parse(write_json(page->entities[0]["extra"]))["gift"], true);
  EXPECT_TRUE(page->entities[2].at("extra").is_null());
  const auto refused = run(list_entities(pool(), catalog_, "customer", query));
  EXPECT_EQ(refused.error().code, "fields.unknown_attribute") << "an own type has none";

  EXPECT_EQ(ids("acme.invoice", {{"extra.shipping.carrier", "post"}}), "in_1");
  EXPECT_EQ(ids("acme.invoice", {{"extra.gift", "true"}}), "in_1");
  EXPECT_EQ(ids("acme.invoice", {{"extra.shipping.n[in]", "1.50"}}), "in_1");
  EXPECT_EQ(ids("acme.invoice", {{"extra.shipping.carrier[like]", "P*"}}), "in_1");
  EXPECT_EQ(ids("acme.invoice", {{"extra.shipping.carrier[ne]", "post"}}), "in_2 in_3");
  EXPECT_EQ(ids("acme.invoice", {{"extra.shipping.carrier[is_null]", "true"}}), "in_2 in_3");
  EXPECT_EQ(ids("acme.invoice", {{"extra.shipping[is_null]", "false"}}), "in_1 in_2");
  EXPECT_EQ(ids("acme.invoice", {{"lines.order.id", "17"}}), "in_1") << "a JSON attribute, too";
  EXPECT_EQ(ids("acme.customer", {{"invoice.extra.gift", "true"}}), "filter.unknown_path");
  EXPECT_EQ(ids("acme.invoice", {{"extra.a'b\"}", "x"}}), "");
  EXPECT_EQ(ids("acme.invoice", {{"extra.shipping.", "x"}}), "filter.unknown_path");
  EXPECT_EQ(ids("acme.invoice", {{"extra.gift[gt]", "x"}}), "filter.unsupported");
  EXPECT_EQ(ids("acme.invoice", {{"extra.gift[is_null]", "x"}}), "filter.bad_value");
  EXPECT_EQ(ids("acme.invoice", {{"memo.a", "x"}}), "filter.unknown_path") << "text has no inside";
  EXPECT_EQ(ids("customer", {{"extra.a", "x"}}), "filter.unknown_path");
}

TEST_F(EntitiesTest, APageOfMuchBeyondTheAttributesEndsWhereItIsFull) {
  sql("update vendor.acme_invoice set extra = jsonb_build_object('text', repeat('x', 3000000))");
  ListQuery query;
  query.fields = {"extra"};
  const auto page = run(list_entities(pool(), catalog_, "acme.invoice", query));
  ASSERT_TRUE(page) << page.error().describe();
  EXPECT_EQ(page->entities.size(), 2U);
  EXPECT_NE(page->cursor, "");
}

TEST_F(EntitiesTest, APageOfLargeOwnEntitiesEndsWhereItIsFull) {
  const std::string type = std::to_string(catalog_->find("customer")->id.value);
  // By the pool: each connection has ids of its own in hand, and these come behind the first.
  const std::string large =
      "insert into sluice.own_entity (workspace_id, type_id, data) select " +
      std::to_string(workspace_.value) + ", " + type +
      ", jsonb_build_object('email', n || '@large', 'info', repeat('i', 1000000)) from "
      "generate_series(1, 9) n";
  run(pool().query(large));
  ListQuery query;
  const auto first = run(list_entities(pool(), catalog_, "customer", query));
  ASSERT_TRUE(first) << first.error().describe();
  EXPECT_EQ(first->entities.size(), 1 + 5U) << "the fifth goes beyond";
  query.cursor = first->cursor;
  const auto second = run(list_entities(pool(), catalog_, "customer", query));
  EXPECT_EQ(second->entities.size(), 4U);
  EXPECT_EQ(second->cursor, "");
}

/// An entity is shown as often as it is reached.
TEST_F(EntitiesTest, WhatAnExpansionAddsIsBoundedInBytes) {
  sql("update vendor.acme_customer set nickname = repeat('n', 1000000) where external_id = "
      "'cus_1'; insert into vendor.acme_invoice (workspace_id, connection_id, external_id, "
      "content_hash, customer) select {w}, {c}, 'again_' || n, gen_random_uuid(), 'cus_1' from "
      "generate_series(1, 20) n");
  ListQuery query;
  query.expand = {"customer"};
  const auto page = run(list_entities(pool(), catalog_, "acme.invoice", query));
  ASSERT_FALSE(page);
  EXPECT_EQ(page.error().code, "expand.too_large");
  EXPECT_EQ(page.error().kind, ErrorKind::bad_input);
  query.limit = 10;
  EXPECT_TRUE(run(list_entities(pool(), catalog_, "acme.invoice", query)));
  // Reached once by each edge, and shown many times.
  query.expand = {"customer.invoice.customer"};
  query.limit = 1;
  EXPECT_EQ(run(list_entities(pool(), catalog_, "acme.invoice", query)).error().code,
            "expand.too_large");
}

TEST_F(EntitiesTest, TombstonesAreShownOnlyWhenAskedFor) {
  sql("update vendor.acme_invoice set deleted_at = now() where external_id = 'in_1'");
  EXPECT_EQ(ids("acme.invoice", {}), "in_2 in_3");
  ListQuery query;
  query.tombstones = Tombstones::only;
  const auto gone = run(list_entities(pool(), catalog_, "acme.invoice", query));
  ASSERT_EQ(gone->entities.size(), 1u);
  EXPECT_TRUE(gone->entities[0]["provenance"]["deleted_at"].is_string());
  query.tombstones = Tombstones::include;
  EXPECT_EQ(run(list_entities(pool(), catalog_, "acme.invoice", query))->entities.size(), 3u);
  EXPECT_EQ(get("acme.invoice", "in_1").error().code, "entity.not_found");
}

// A tombstone holds its unique values no more.
TEST_F(EntitiesTest, WhoAsksForADeletedRowByAUniqueValueFindsIt) {
  Filter filter;
  filter.attribute = "email";
  filter.values = {"a@x.com"};
  ListQuery query;
  query.filters = {filter};
  ASSERT_EQ(run(list_entities(pool(), catalog_, "customer", query))->entities.size(), 1u);
  sql("with gone as (update sluice.own_entity set deleted_at = now() where data->>'email' = '" +
      filter.values[0] +
      "' returning id) delete from sluice.own_unique u using gone where u.id = "
      "gone.id");
  EXPECT_TRUE(run(list_entities(pool(), catalog_, "customer", query))->entities.empty());
  for (const Tombstones shown : {Tombstones::only, Tombstones::include}) {
    query.tombstones = shown;
    EXPECT_EQ(run(list_entities(pool(), catalog_, "customer", query))->entities.size(), 1u);
  }
}

TEST_F(EntitiesTest, AReferenceIsShownBySluiceIdOfItsOwnConnectionAndNullWhileItIsNotThere) {
  sql("insert into sluice.connection (workspace_id, connector, name) values ({w}, 'acme', "
      "'second');"
      "insert into vendor.acme_customer (workspace_id, connection_id, external_id, content_hash) "
      "select workspace_id, connection_id, 'cus_missing', gen_random_uuid() from "
      "sluice.connection where name = 'second'");
  const auto customer = get("acme.customer", "cus_1");
  ASSERT_TRUE(customer);
  EXPECT_EQ((*customer)["references"], json::object());
  const auto page = list("acme.invoice", {}, {"customer"});
  ASSERT_TRUE(page);
  EXPECT_EQ(page->entities[0]["references"]["customer"], (*customer)["id"]);
  EXPECT_EQ(page->entities[0]["attributes"]["customer"], "cus_1") << "as the vendor says it";
  EXPECT_EQ(page->entities[2]["references"]["customer"], nullptr)
      << "another account has a customer of that id";
  sql("update vendor.acme_customer set deleted_at = now() where external_id = 'cus_1'");
  EXPECT_EQ((*get("acme.invoice", "in_1"))["references"]["customer"], nullptr);
  this->customer("cus_missing", "c@x.com");
  const auto reached = get("acme.invoice", "in_3");
  EXPECT_EQ((*reached)["references"]["customer"].get<std::string>(),
            text("select id from vendor.acme_customer where connection_id = (select "
                 "min(connection_id) from sluice.connection) and external_id = 'cus_missing'"));
}

TEST_F(EntitiesTest, ReferencesExpandAndDanglingOnesAreNull) {
  const auto page =
      list("acme.invoice", {}, {"customer.link.acme.customer.email", "customer.invoice"});
  ASSERT_TRUE(page) << page.error().describe();
  const json& first = page->entities[0]["expanded"]["customer"];
  EXPECT_EQ(first["external_id"], "cus_1");
  EXPECT_EQ(first["expanded"]["link.acme.customer.email"]["id"], id_text(own_));
  EXPECT_EQ(first["expanded"]["link.acme.customer.email"]["attributes"]["email"], "a@x.com");
  EXPECT_EQ(first["expanded"]["invoice"]["items"].size(), 2u);
  EXPECT_EQ(page->entities[1]["expanded"]["customer"]["external_id"], "cus_1");
  EXPECT_TRUE(page->entities[2]["expanded"]["customer"].is_null());
  EXPECT_EQ(page->entities[2]["attributes"]["customer"], "cus_missing");
}

TEST_F(EntitiesTest, ChildrenAndLinkedOnesAreCappedLists) {
  const auto customer = get("acme.customer", "cus_1", {"invoice", "customer"});
  ASSERT_TRUE(customer) << customer.error().describe();
  EXPECT_EQ((*customer)["expanded"]["invoice"]["items"].size(), 2u);
  EXPECT_FALSE((*customer)["expanded"]["invoice"]["has_more"].get<bool>());
  EXPECT_EQ((*customer)["expanded"]["customer"]["id"], id_text(own_));
  sql("insert into vendor.acme_invoice (workspace_id, connection_id, external_id, content_hash, "
      "customer)"
      " select {w}, {c}, 'many_' || n, gen_random_uuid(), 'cus_2' from generate_series(1, 150) n");
  const auto other = get("acme.customer", "cus_2", {"invoice"});
  EXPECT_EQ((*other)["expanded"]["invoice"]["items"].size(), 100u);
  EXPECT_TRUE((*other)["expanded"]["invoice"]["has_more"].get<bool>());

  EntityRef reference;
  reference.id = own_;
  const auto whole =
      run(get_entity(pool(), catalog_, "customer", reference, {"acme.customer.invoice"}));
  ASSERT_TRUE(whole) << whole.error().describe();
  const json& linked = (*whole)["expanded"]["acme.customer"]["items"];
  ASSERT_EQ(linked.size(), 1u);
  EXPECT_EQ(linked[0]["expanded"]["invoice"]["items"].size(), 2u);
}

TEST_F(EntitiesTest, WrongPathsAreRefusedWithWhatIsThere) {
  const auto unknown = get("acme.invoice", "in_1", {"nothing"});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, "expand.unknown_path");
  EXPECT_NE(unknown.error().hint.find("customer"), std::string::npos);
  EXPECT_EQ(
      get("acme.invoice", "in_1", {"customer.invoice.customer.invoice.customer"}).error().code,
      "expand.too_deep");
  EXPECT_TRUE(get("acme.invoice", "in_1", {"customer.invoice.customer.invoice"}));
}

TEST_F(EntitiesTest, APathThatARuleAndTheVendorMeanIsRefused) {
  auto both = std::make_shared<model::Catalog>(*catalog_);
  ASSERT_FALSE(both->rules.empty());
  both->rules.push_back(
      both->rules.front());  // of the vendor's customers, to an own type "invoice"
  both->rules.back().name = "other";
  both->rules.back().target_type_name = "invoice";
  catalog_ = both;
  EXPECT_EQ(get("acme.customer", "cus_1", {"invoice"}).error().code, "expand.ambiguous");
  EXPECT_NE(get("acme.customer", "cus_1", {"invoice"}).error().hint.find("invoice:customer"),
            std::string::npos);
  EXPECT_TRUE(get("acme.customer", "cus_1", {"invoice:customer"}));
}

TEST_F(EntitiesTest, AnExternalIdOfTwoConnectionsNeedsTheConnection) {
  sql("insert into sluice.connection (workspace_id, connector, name) values ({w}, 'acme', "
      "'second')");
  sql("insert into vendor.acme_customer (workspace_id, connection_id, external_id, content_hash)"
      " select workspace_id, connection_id, 'cus_1', gen_random_uuid() from sluice.connection "
      "where name = 'second'");
  EXPECT_EQ(get("acme.customer", "cus_1").error().code, "entity.ambiguous");
  EntityRef reference;
  reference.external_id = "cus_1";
  reference.connection = "second";
  EXPECT_EQ(
      (*run(get_entity(pool(), catalog_, "acme.customer", reference)))["provenance"]["connection"],
      "second");
}

TEST_F(EntitiesTest, AnotherWorkspaceSeesNothing) {
  model::Catalog other = *catalog_;
  other.workspace = WorkspaceId(workspace_.value + 1);
  const auto catalog = std::make_shared<const model::Catalog>(other);
  const auto page = run(list_entities(pool(), catalog, "acme.invoice", ListQuery()));
  ASSERT_TRUE(page);
  EXPECT_TRUE(page->entities.empty());
}

}  // namespace
}  // namespace sluice::feed
