// Amounts in currencies of which nobody knows how many digits stand behind the point: they have no
// form in major units, and somebody has to hear of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/async.hpp"
#include "model/catalog.hpp"
#include "pg/connection.hpp"

namespace sluice::model {

/// The index of a vendor's table that has the rows whose currency is not in ISO 4217, mostly none;
/// and the statement that makes it, outside a transaction with `how` "concurrently".
[[nodiscard]] std::string currency_index_name(std::string_view table, std::string_view attribute);
[[nodiscard]] std::string create_currency_index(std::string_view table, std::string_view attribute,
                                                std::string_view how = "");

inline constexpr std::int64_t kUnknownCounted = 10'000;  ///< rows of one type and currency
inline constexpr int kCurrenciesLooked = 50;             ///< of one type and attribute

struct UnknownCurrency {
  std::string type;      ///< "stripe.charge"
  std::string currency;  ///< as the vendor has it; empty where its attribute is personal
  std::vector<std::string> amounts;  ///< attributes without a form in major units
  std::int64_t rows = 0;             ///< living ones with an amount; at most kUnknownCounted
};

/// Of each type, by type and currency. Costs what there is of unknown currencies, within the bounds
/// above, and a look into an index for each type with amounts. A type whose index is still being
/// made is left out.
Task<std::vector<UnknownCurrency>> unknown_currencies(pg::Connection& connection,
                                                      const Catalog& catalog);

}  // namespace sluice::model
