#include "feed/money.hpp"

#include <fmt/format.h>

#include "contract/reserved_names.hpp"
#include "model/columns.hpp"

namespace sluice::feed {

std::vector<MajorUnits> major_units_of(const model::StoredType& type) {
  std::vector<MajorUnits> all;
  for (const model::StoredAttribute& attribute : type.attributes) {
    const model::StoredAttribute* const currency =
        attribute.currency.empty() ? nullptr : type.find(attribute.currency);
    if (currency == nullptr) continue;
    MajorUnits& one = all.emplace_back();
    one.name = contract::major_name(attribute.name);
    // What an older version of the connector declared keeps its name.
    for (int n = 2; type.find(one.name) != nullptr; ++n)
      one.name = fmt::format("{}_{}", contract::major_name(attribute.name), n);
    one.attribute = &attribute;
    one.expression = fmt::format(
        "sluice.major_units({}, {}, {}::jsonb)", model::value_expression(type, attribute, "e"),
        model::value_expression(type, *currency, "e"), model::quote_text(type.currency_exponents));
  }
  return all;
}

}  // namespace sluice::feed
