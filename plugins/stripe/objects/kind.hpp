// How one type of Stripe object becomes records; billing.hpp and payments.hpp hold one Kind each.
#pragma once

#include <sluice/sdk.hpp>

#include <cstdint>
#include <string_view>

#include "stripe_manifest.hpp"

namespace stripe {

namespace json = sluice::sdk::json;
using sluice::sdk::As;
using sluice::sdk::Record;

struct Kind {
  std::uint32_t type;
  std::string_view object;  ///< what Stripe writes into the object's own field "object"
  std::string_view path;    ///< of the list, one object under it; empty: it has no address
  const sluice::sdk::Fields* fields;
  std::string_view page = {};  ///< in the dashboard, the id follows; empty: it is not shown there
  std::string_view shown_by = {};  ///< field whose id the page shows; empty: the object's own
  void (*more)(Record&, const json::Value&) = nullptr;  ///< what no table can say
  const sluice::sdk::Fields* fields_before = nullptr;   ///< of older API versions
  void (*more_before)(Record&, const json::Value&) = nullptr;
};

namespace objects {

/// A list attribute from a field that holds one thing or null; nothing when the field is not there.
inline void put_single_as_list(Record& record, std::uint32_t attribute, const json::Value& one) {
  if (!one.exists()) return;
  record.json(attribute, one.is_null()
                             ? std::string_view("[]")
                             : record.scratch().join("[", one.compact(record.scratch()), "]"));
}

/// The id in the first entry of a list, which is the reference itself or has it under `name`; null
/// when the list is empty, nothing when there is no list.
inline void put_first_reference(Record& record, std::uint32_t attribute, const json::Value& list,
                                std::string_view name) {
  if (!list.is_array()) return;
  for (const json::Value entry : list.items()) {
    const json::Value named = entry[name];
    const std::string_view id = sluice::sdk::reference_id(named.exists() ? named : entry);
    if (!id.empty()) return record.text(attribute, id);
  }
  record.null(attribute);
}

/// The ids of a list of references or objects, as a JSON array.
inline void put_ids(Record& record, std::uint32_t attribute, const json::Value& list) {
  if (!list.is_array()) return;
  json::Writer ids;
  ids.begin_array();
  for (const json::Value entry : list.items()) {
    const std::string_view id = sluice::sdk::reference_id(entry);
    if (!id.empty()) ids.value(id);
  }
  record.json(attribute, record.scratch().keep(ids.end_array().text()));
}

}  // namespace objects
}  // namespace stripe
