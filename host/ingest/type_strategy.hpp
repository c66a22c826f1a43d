// How a type's rows are written, chosen for each connection and learned from page to page. Pure.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "base/ids.hpp"

namespace sluice::ingest {

enum class Strategy {
  /// Mostly known rows: which of them differ? Where many of a page's rows were stored one after the
  /// other, as a vendor lists them, they are read by the range of their ids; the rest, and pages
  /// that are too scattered, by their external ids.
  look,
  /// The last page was mostly new: inserted without a look, what is there already is left alone.
  insert,
  /// There was no row when we first looked: pages go straight into the table by COPY, with ids
  /// taken from the sequence beforehand, until one holds a row that is there already.
  copy,
};

struct TypeState {
  Strategy strategy = Strategy::look;
  int scattered_pages = 0;  ///< for so many pages more no range of ids is read
};

/// What a page showed of one type.
struct TypeOutcome {
  std::size_t rows = 0;
  std::size_t inserted = 0;       ///< of those
  std::size_t range_rows = 0;     ///< rows that were looked for by the range of their ids
  std::size_t range_matched = 0;  ///< of those: found, and the same
};

/// Of all connections of one writer. One loop.
///
///   first met ──no row yet──> copy ──a page with a known row, or COPY refused──> insert or look
///             └─some───────> look
///   insert, look ──each page: half of it was new?──> insert or look
class TypeStrategies {
 public:
  /// A type whose rows do not lie as the vendor lists them, or that mostly differ, is tried by
  /// range again after so many pages.
  static constexpr int kScatteredPages = 32;

  /// As met() and what came after said; `look` when nobody said anything.
  [[nodiscard]] TypeState of(ConnectionId connection, EntityTypeId type) const;
  [[nodiscard]] bool knows(ConnectionId connection, EntityTypeId type) const;
  /// Nothing when it is known already.
  void met(ConnectionId connection, EntityTypeId type, bool has_rows);
  void stop_copying(ConnectionId connection, EntityTypeId type);
  void learn(ConnectionId connection, EntityTypeId type, const TypeOutcome& page);
  /// The connection's types that are copied.
  [[nodiscard]] std::vector<EntityTypeId> copied(ConnectionId connection) const;

 private:
  struct Key {
    ConnectionId connection;
    EntityTypeId type;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  std::map<Key, TypeState> states_;
};

}  // namespace sluice::ingest
