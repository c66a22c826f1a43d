// What goes out in binary comes back the same as text: every type, alone and in arrays.
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "support/pg_fixture.hpp"

namespace sluice::pg {
namespace {

class ParamsTest : public testing::PgTest {
 protected:
  ParamsTest() : PgTest(Database::empty) {}

  QueryResult query(std::string_view sql, Params params) {
    return run(pool().query(sql, std::move(params)));
  }
  std::string text_of(std::string_view type, Params params) {
    return std::string(query("SELECT $1::" + std::string(type), std::move(params)).text(0, 0));
  }
};

Uuid uuid_of(std::uint8_t first) {
  Uuid value;
  for (auto& byte : value.bytes) byte = first++;
  return value;
}

TEST_F(ParamsTest, ScalarsArriveAsTheyWere) {
  EXPECT_EQ(text_of("bool", Params(true)), "t");
  EXPECT_EQ(text_of("bool", Params(false)), "f");
  EXPECT_EQ(text_of("int4", Params(std::numeric_limits<std::int32_t>::min())), "-2147483648");
  EXPECT_EQ(text_of("int8", Params(std::numeric_limits<std::int64_t>::min())),
            "-9223372036854775808");
  EXPECT_EQ(text_of("int8", Params(std::numeric_limits<std::int64_t>::max())),
            "9223372036854775807");
  EXPECT_EQ(text_of("float8", Params(0.1)), "0.1");
  EXPECT_EQ(text_of("float8", Params(std::numeric_limits<double>::infinity())), "Infinity");
  EXPECT_EQ(text_of("float8", Params(std::numeric_limits<double>::quiet_NaN())), "NaN");
  EXPECT_EQ(text_of("text", Params("")), "");
  EXPECT_EQ(text_of("text", Params("grün 𝄞")), "grün 𝄞");
  EXPECT_EQ(text_of("bytea", Params(Bytes{0, 255, 92})), "\\x00ff5c");
  EXPECT_EQ(text_of("uuid", Params(uuid_of(1))), "01020304-0506-0708-090a-0b0c0d0e0f10");
  EXPECT_EQ(text_of("int8", Params(ConnectionId(7))), "7");
}

TEST_F(ParamsTest, TimesCountFrom1970InUtc) {
  EXPECT_EQ(text_of("timestamptz", Params(Micros(0))), "1970-01-01 00:00:00+00");
  EXPECT_EQ(text_of("timestamptz", Params(Micros(-1))), "1969-12-31 23:59:59.999999+00");
  const auto now = from_rfc3339("2026-11-23T05:16:54.123456Z");
  EXPECT_EQ(text_of("timestamptz", Params(*now)), "2026-11-23 05:16:54.123456+00");
}

TEST_F(ParamsTest, ATimeThatPostgresCannotHoldIsBadInput) {
  try {
    Params params(Micros::min());
    FAIL() << "was taken";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().kind, ErrorKind::bad_input);
    EXPECT_EQ(failure.error().code, "pg.time_out_of_range");
  }
  Array dates(Oid::date);
  EXPECT_THROW(dates.add(std::numeric_limits<std::int32_t>::min()), Failure);
  EXPECT_EQ(dates.size(), 0u);
}

TEST_F(ParamsTest, JsonIsJsonb) {
  const nlohmann::json value = {{"a", {1, 2, nullptr}}, {"b", "ü"}};
  const auto result = query("SELECT $1->>'b', jsonb_typeof($1), $1::text", Params(value));
  EXPECT_EQ(result.text(0, 0), "ü");
  EXPECT_EQ(result.text(0, 1), "object");
  EXPECT_EQ(nlohmann::json::parse(result.text(0, 2)), value);
}

TEST_F(ParamsTest, JsonThatIsNotUtf8IsBadInput) {
  const nlohmann::json value = std::string("\xff");
  EXPECT_THROW(Params params(value), Failure);
}

TEST_F(ParamsTest, NullsKeepTheirType) {
  const auto result =
      query("SELECT $1 IS NULL, pg_typeof($1), $2::int IS NULL, pg_typeof($3)",
            Params(std::optional<Micros>(), nullptr, std::optional<std::string>("x")));
  EXPECT_TRUE(result.get<bool>(0, 0));
  EXPECT_EQ(result.text(0, 1), "timestamp with time zone");
  EXPECT_TRUE(result.get<bool>(0, 2));
  EXPECT_EQ(result.text(0, 3), "text");
}

TEST_F(ParamsTest, AnEmptyArrayIsAnEmptyArray) {
  for (const Oid element : {Oid::boolean, Oid::bytea, Oid::int4, Oid::text, Oid::int8, Oid::float8,
                            Oid::date, Oid::timestamptz, Oid::uuid, Oid::jsonb}) {
    const Array none(element);
    const auto result = query("SELECT cardinality($1)", Params(none));
    EXPECT_EQ(result.get<int>(0, 0), 0);
  }
}

TEST_F(ParamsTest, AMovedArrayAndACopiedOneAreTheSame) {
  Array array(Oid::int8);
  array.add(std::int64_t{1});
  array.add_null();
  Params copied(array);
  Params moved(std::move(array));
  EXPECT_EQ(copied.values()[0].bytes, moved.values()[0].bytes);
  EXPECT_EQ(text_of("int8[]", std::move(moved)), "{1,NULL}");
}

TEST_F(ParamsTest, AClearedArrayStartsAnew) {
  Array array(Oid::text);
  array.add_null();
  array.clear();
  array.add(std::string_view("x"));
  EXPECT_EQ(text_of("text[]", Params(array)), "{x}");
}

TEST_F(ParamsTest, AnArrayThatGrowsPastTheLimitIsBadInput) {
  Array array(Oid::bytea);
  const Bytes big(Array::kBytesMax / 4);
  array.add(ByteView(big));
  array.add(ByteView(big));
  array.add(ByteView(big));
  EXPECT_THROW(array.add(ByteView(big)), Failure);
  EXPECT_EQ(array.size(), 3u);
}

TEST_F(ParamsTest, DatesAndTimesInArrays) {
  Array dates(Oid::date);
  for (const int day : {0, -1, 20'780, 10'957}) dates.add(std::int32_t{day});
  EXPECT_EQ(text_of("date[]", Params(dates)), "{1970-01-01,1969-12-31,2026-11-23,2000-01-01}");
  Array times(Oid::timestamptz);
  times.add(std::int64_t{1'500'000});
  times.add_null();
  EXPECT_EQ(text_of("timestamptz[]", Params(times)), "{\"1970-01-01 00:00:01.5+00\",NULL}");
}

// --- Random rows, one array a column, through UNNEST and back. ---

struct Row {
  std::optional<bool> boolean;
  std::optional<std::int32_t> int4;
  std::optional<std::int64_t> int8;
  std::optional<double> float8;
  std::optional<std::string> text;
  std::optional<Bytes> bytea;
  std::optional<Uuid> uuid;
  std::optional<Micros> time;
  std::optional<std::string> json;
};

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}
  std::int64_t number() {
    constexpr std::int64_t kEdges[] = {0, 1, -1, std::numeric_limits<std::int64_t>::max(),
                                       std::numeric_limits<std::int64_t>::min()};
    return below(4) == 0 ? kEdges[below(5)] : static_cast<std::int64_t>(engine_());
  }
  std::uint32_t below(std::uint32_t bound) { return static_cast<std::uint32_t>(engine_() % bound); }
  std::string text() {
    static const std::string kPieces[] = {"a", "Z",  "\"",   "\\",   "{", "}", ",", "NULL",
                                          " ", "\n", "\x01", "\x7f", "ä", "€", "𝄞", "\xEF\xBF\xBD",
                                          "'", "$1", "\t",   "\r"};
    std::string out;
    for (std::uint32_t length = below(12); length > 0; --length)
      out += kPieces[below(std::size(kPieces))];
    return out;
  }
  double real() {
    constexpr double kEdges[] = {0.0, -0.0, 1e308, 5e-324, -1e-300};
    return below(3) == 0 ? kEdges[below(5)] : static_cast<double>(number()) / 3.0;
  }
  Bytes bytes() {
    Bytes out(below(40));
    for (auto& byte : out) byte = static_cast<std::uint8_t>(engine_());
    return out;
  }
  Uuid uuid() {
    Uuid out;
    for (auto& byte : out.bytes) byte = static_cast<std::uint8_t>(engine_());
    return out;
  }
  // 4713 BC to 294276 AD, what PostgreSQL holds.
  Micros time() {
    return Micros(static_cast<std::int64_t>(engine_() % 9'200'000'000'000'000'000ull) -
                  200'000'000'000'000'000);
  }
  bool null() { return below(5) == 0; }

 private:
  std::mt19937_64 engine_;
};

Row random_row(Dice& dice) {
  Row row;
  if (!dice.null()) row.boolean = dice.below(2) == 1;
  if (!dice.null()) row.int4 = static_cast<std::int32_t>(dice.number());
  if (!dice.null()) row.int8 = dice.number();
  if (!dice.null()) row.float8 = dice.real();
  if (!dice.null()) row.text = dice.text();
  if (!dice.null()) row.bytea = dice.bytes();
  if (!dice.null()) row.uuid = dice.uuid();
  if (!dice.null()) row.time = dice.time();
  if (!dice.null()) row.json = nlohmann::json{{"k", dice.text()}}.dump();
  return row;
}

template <class T>
void append(Array& array, const std::optional<T>& value) {
  if (!value) {
    array.add_null();
  } else if constexpr (std::is_same_v<T, Micros>) {
    array.add(value->count());
  } else if constexpr (std::is_same_v<T, Bytes>) {
    array.add(ByteView(*value));
  } else if constexpr (std::is_same_v<T, std::string>) {
    array.add(std::string_view(*value));
  } else {
    array.add(*value);
  }
}

TEST_F(ParamsTest, RandomRowsComeBackAsTheyWere) {
  const std::uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Dice dice(seed);
  std::vector<Row> rows(2000);
  Array booleans(Oid::boolean), int4s(Oid::int4), int8s(Oid::int8), float8s(Oid::float8),
      texts(Oid::text);
  Array byteas(Oid::bytea), uuids(Oid::uuid), times(Oid::timestamptz), jsons(Oid::jsonb);
  for (Row& row : rows) {
    row = random_row(dice);
    append(booleans, row.boolean);
    append(int4s, row.int4);
    append(int8s, row.int8);
    append(float8s, row.float8);
    append(texts, row.text);
    append(byteas, row.bytea);
    append(uuids, row.uuid);
    append(times, row.time);
    append(jsons, row.json);
  }
  Params params(booleans, int4s, int8s, float8s, texts, byteas, uuids, times, jsons);
  const auto result = query(
      "SELECT * FROM UNNEST($1, $2, $3, $4, $5, $6, $7, $8, $9) WITH ORDINALITY AS r ORDER BY "
      "ordinality",
      std::move(params));
  ASSERT_EQ(result.rows(), 2000);
  for (int i = 0; i < result.rows(); ++i) {
    const Row& row = rows[static_cast<std::size_t>(i)];
    SCOPED_TRACE(i);
    EXPECT_EQ(result.get<std::optional<bool>>(i, 0), row.boolean);
    EXPECT_EQ(result.get<std::optional<std::int32_t>>(i, 1), row.int4);
    EXPECT_EQ(result.get<std::optional<std::int64_t>>(i, 2), row.int8);
    EXPECT_EQ(result.get<std::optional<double>>(i, 3), row.float8);
    EXPECT_EQ(result.get<std::optional<std::string>>(i, 4), row.text);
    EXPECT_EQ(result.get<std::optional<Bytes>>(i, 5), row.bytea);
    EXPECT_EQ(result.get<std::optional<Uuid>>(i, 6), row.uuid);
    EXPECT_EQ(result.get<std::optional<Micros>>(i, 7), row.time);
    ASSERT_EQ(result.is_null(i, 8), !row.json);
    if (row.json) {
      EXPECT_EQ(nlohmann::json::parse(result.text(i, 8)), nlohmann::json::parse(*row.json));
    }
  }
}

}  // namespace
}  // namespace sluice::pg
