#include "fetch/answer_head.hpp"

#include <gtest/gtest.h>

namespace sluice::fetch {
namespace {

/// Takes lines until the head ends; the code of the refusal, or empty.
std::string take(AnswerHead& head, const std::vector<std::string>& lines) {
  for (const std::string& line : lines) {
    const auto part = head.take(line + "\r\n");
    if (!part) return part.error().code + ": " + part.error().message;
  }
  return {};
}

struct Case {
  std::vector<std::string> lines;
  Framing framing;
  std::uint64_t length = 0;
  bool compressed = false;
};

TEST(AnswerHead, SaysHowOneKnowsWhereTheAnswerEnds) {
  const std::vector<Case> cases = {
      {{"HTTP/1.1 200 OK"}, Framing::unknown},
      {{"HTTP/1.1 200 OK", "Content-Length: 5"}, Framing::unknown},
      {{"HTTP/1.1 103 Hints", "Content-Length: 5", ""}, Framing::unknown},
      {{"HTTP/1.1 200 OK", ""}, Framing::connection_end},
      {{"HTTP/1.1 200 OK", "Content-Length: 5", ""}, Framing::length, 5},
      {{"HTTP/1.1 200 OK", "Content-Length: 5", "content-length: 05", ""}, Framing::length, 5},
      {{"HTTP/1.1 200 OK", "Content-Length: 5, 5", ""}, Framing::length, 5},
      {{"HTTP/1.1 200 OK", "Content-Length: 99999999999999999999", ""},
       Framing::length,
       UINT64_MAX},
      {{"HTTP/1.1 200 OK", "Transfer-Encoding: Chunked", "Content-Length: 5", ""},
       Framing::chunked},
      {{"HTTP/1.1 200 OK", "Transfer-Encoding: identity", ""}, Framing::connection_end},
      {{"HTTP/1.1 204 No Content", ""}, Framing::no_body},
      {{"HTTP/1.1 304 Not Modified", "Content-Length: 99999999", ""}, Framing::no_body},
      {{"HTTP/1.1 200 OK", "Content-Encoding: gzip", ""}, Framing::connection_end, 0, true},
      {{"HTTP/1.1 200 OK", "Content-Encoding: identity, x-gzip", ""},
       Framing::connection_end,
       0,
       true},
      {{"HTTP/1.1 100 Continue", "Content-Encoding: br", "", "HTTP/1.1 200 OK", ""},
       Framing::connection_end},
  };
  for (const Case& one : cases) {
    AnswerHead head;
    EXPECT_EQ(take(head, one.lines), "") << one.lines.back();
    EXPECT_EQ(head.framing(), one.framing) << testing::PrintToString(one.lines);
    EXPECT_EQ(head.length(), one.length) << testing::PrintToString(one.lines);
    EXPECT_EQ(head.is_compressed(), one.compressed) << testing::PrintToString(one.lines);
  }
}

TEST(AnswerHead, RefusesWhatNobodyCanRead) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"Content-Encoding: gzip", "Content-Encoding: gzip"},
       "fetch.transport.encoding: the response body has the content encoding 'gzip, gzip', and one "
       "layer of gzip was offered"},
      {{"Content-Encoding: br"},
       "fetch.transport.encoding: the response body has the content encoding 'br', and one layer "
       "of gzip was offered"},
      {{"Transfer-Encoding: gzip, chunked"},
       "fetch.transport.encoding: the response has the transfer encoding 'gzip', and only chunked "
       "was offered"},
      {{"Content-Length: 5", "Content-Length: 7"},
       "fetch.transport.protocol: the response has two lengths, 5 and 7"},
      {{"Content-Length: 5, 7"}, "fetch.transport.protocol: the response has two lengths, 5 and 7"},
      {{"Content-Length: -5"}, "fetch.transport.protocol: the Content-Length '-5' is no number"},
  };
  for (const auto& [headers, said] : cases) {
    std::vector<std::string> lines = {"HTTP/1.1 200 OK"};
    lines.insert(lines.end(), headers.begin(), headers.end());
    lines.emplace_back();
    AnswerHead head;
    EXPECT_EQ(take(head, lines), said);
  }
}

TEST(AnswerHead, KeepsHeadersWhateverTheirNamesBeginWith) {
  AnswerHead head;
  EXPECT_EQ(take(head, {"HTTP/1.1 200 OK", "X-First: 1", "HTTP/2: is a name", "X-Long: one",
                        "  two", "\tthree", "no header", "X-Empty:", ""}),
            "");
  const contract::Headers expected = {
      {"X-First", "1"}, {"HTTP/2", "is a name"}, {"X-Long", "one two three"}, {"X-Empty", ""}};
  EXPECT_EQ(head.headers(), expected);
  EXPECT_EQ(head.status(), 200);
}

}  // namespace
}  // namespace sluice::fetch
