#include "model/currencies.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "model/columns.hpp"

namespace sluice::model {
namespace {

const pg::Statement kCurrencyIndexes{"model_currency_indexes", R"(
  select c.relname::text from pg_index i join pg_class c on c.oid = i.indexrelid
  join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'vendor' and i.indisvalid and c.relname = any ($1::text[]))"};

/// What the index holds, in its own words: else the planner does not see that it serves.
std::string is_foreign(std::string_view column) {
  return fmt::format("{0} is not null and sluice.major_units(1, {0}, '{{}}') is null", column);
}

/// As much of a currency as an index has room for, whatever a vendor sends.
std::string code_of(std::string_view column) { return fmt::format("left({}, 20)", column); }

/// Amounts of one type that have their currency in one attribute.
struct Amounts {
  const StoredType* type = nullptr;
  const StoredAttribute* currency = nullptr;
  std::vector<std::string> names;
  std::string index;
};

std::vector<Amounts> amounts_of(const StoredType& type) {
  std::vector<Amounts> all;
  for (const StoredAttribute& attribute : type.attributes) {
    const StoredAttribute* const currency =
        attribute.currency.empty() ? nullptr : type.find(attribute.currency);
    if (currency == nullptr) continue;
    auto at = std::ranges::find(all, currency, &Amounts::currency);
    if (at == all.end()) {
      at = all.insert(all.end(), Amounts());
      at->type = &type;
      at->currency = currency;
      at->index = currency_index_name(type.table, currency->name);
    }
    at->names.push_back(attribute.name);
  }
  return all;
}

/// The currencies one after the other, each found in the index behind the one before; of each its
/// rows. $1 is the workspace, $2 what the connector says of currencies.
std::string count_of(const Amounts& amounts) {
  std::string any;
  for (const std::string& name : amounts.names)
    any += fmt::format("{}e.{} is not null", any.empty() ? "" : " or ", quote_name(name));
  const std::string column = "e." + quote_name(amounts.currency->name);
  const std::string code = code_of(column);
  const std::string from = fmt::format("from vendor.{} e where e.workspace_id = $1::bigint and {}",
                                       quote_name(amounts.type->table), is_foreign(column));
  return fmt::format(
      "with recursive found(code) as ("
      "(select {1} {0} order by {1} limit 1) union all"
      " select (select {1} {0} and {1} > f.code order by {1} limit 1) from found f"
      " where f.code is not null)"
      " select f.code, n.rows from (select code from found where code is not null limit {3}) f"
      " cross join lateral (select count(*) filter (where one.counts) as rows from ("
      "select e.deleted_at is null and ({2}) as counts {0} and {1} = f.code limit {4}) one) n"
      " where n.rows > 0 and sluice.major_units(1, f.code, $2::jsonb) is null order by f.code "
      "collate \"C\"",
      from, code, any, kCurrenciesLooked, kUnknownCounted);
}

}  // namespace

std::string currency_index_name(std::string_view table, std::string_view attribute) {
  return fitted_name(fmt::format("{}_odd_{}", table, attribute));
}

std::string create_currency_index(std::string_view table, std::string_view attribute,
                                  std::string_view how) {
  const std::string column = quote_name(attribute);
  return fmt::format("create index {} if not exists {} on vendor.{} (workspace_id, {}) where {}",
                     how, quote_name(currency_index_name(table, attribute)), quote_name(table),
                     code_of(column), is_foreign(column));
}

Task<std::vector<UnknownCurrency>> unknown_currencies(pg::Connection& connection,
                                                      const Catalog& catalog) {
  std::vector<Amounts> all;
  pg::Array indexes(pg::Oid::text);
  for (const StoredType& type : catalog.types) {
    for (Amounts& one : amounts_of(type)) {
      indexes.add(std::string_view(one.index));
      all.push_back(std::move(one));
    }
  }
  std::vector<UnknownCurrency> unknown;
  if (all.empty()) co_return unknown;
  pg::Params named(std::move(indexes));
  const auto there = co_await connection.query(kCurrencyIndexes, std::move(named));
  std::set<std::string> made;
  for (int row = 0; row < there.rows(); ++row) made.insert(there.get<std::string>(row, 0));
  for (const Amounts& amounts : all) {
    if (!made.contains(amounts.index)) continue;
    const std::string count = count_of(amounts);
    pg::Params params(catalog.workspace, std::string_view(amounts.type->currency_exponents));
    const auto rows = co_await connection.query(count, std::move(params));
    for (int row = 0; row < rows.rows(); ++row) {
      UnknownCurrency& one = unknown.emplace_back();
      one.type = amounts.type->name;
      if (!amounts.currency->personal) one.currency = rows.get<std::string>(row, 0);
      one.amounts = amounts.names;
      one.rows = rows.get<std::int64_t>(row, 1);
    }
  }
  co_return unknown;
}

}  // namespace sluice::model
