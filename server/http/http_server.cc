// Boost.Beast: one strand of asynchronous calls a connection.
#include "server/http/http_server.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <chrono>
#include <ctime>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/address.h"
#include "common/error.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/log.h"

namespace wring {

namespace {

// RFC 9110, 5.6.7: whoever reads the answer can tell how old its times are, whatever its own clock says.
std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[40];
  std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return text;
}

constexpr std::size_t kMostMissing = 1000;

HttpResponse problem(int status, const Error& error, std::span<const std::string> missing = {}) {
  Json json{{"type", "about:blank"},     {"title", error.reason()},  {"status", status},
            {"detail", error.message()}, {"reason", error.reason()}, {"code", to_string(error.code())}};
  if (!error.field().empty()) json["field"] = error.field();
  if (!error.hint().empty()) json["hint"] = error.hint();
  if (!missing.empty()) json["missing"] = missing.first(std::min(missing.size(), kMostMissing));
  HttpResponse response{
      status, "application/problem+json", json.dump(-1, ' ', false, Json::error_handler_t::replace), {}, {}};
  if (status == 405) response.headers.emplace_back("Allow", error.hint());
  if (status == 416) response.headers.emplace_back("Content-Range", error.hint());
  return response;
}

}  // namespace

int http_status(const Error& error) {
  if (error.reason() == "METHOD_NOT_ALLOWED") return 405;
  if (error.reason() == "UNSUPPORTED_MEDIA_TYPE") return 415;
  if (error.reason() == "RANGE_NOT_SATISFIABLE") return 416;
  if (error.reason() == "DIGEST_MISMATCH") return 400;  // what was sent is at fault, not the disk
  switch (error.code()) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kOutOfRange:
    case ErrorCode::kUnimplemented:  // what a recipe asks for, and no server does
      return 400;
    case ErrorCode::kUnauthenticated:
      return 401;
    case ErrorCode::kPermissionDenied:
      return 403;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kAlreadyExists:
    case ErrorCode::kAborted:
    case ErrorCode::kFailedPrecondition:
      return 409;
    case ErrorCode::kResourceExhausted:
      return 429;
    case ErrorCode::kUnavailable:
      return 503;
    default:
      return 500;
  }
}

HttpResponse problem_of(const Error& error, std::span<const std::string> missing) {
  return problem(http_status(error), error, missing);
}

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;

constexpr std::size_t kMaxHeader = 16 * 1024, kMaxBody = 3 << 20;
constexpr std::size_t kWritten = 256 * 1024;  // of a piece at once
constexpr auto kIdle = std::chrono::seconds(30), kWholeBody = std::chrono::seconds(600);
constexpr int kThreads = 4;  // a handler waits for the disk

// The other half of the descriptors is for gRPC, blobs and the database.
int most_connections(int wanted) {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return wanted;
  return static_cast<int>(std::min<rlim_t>(static_cast<rlim_t>(wanted), files.rlim_cur / 2));
}

using Plain = beast::tcp_stream;
using Tls = beast::ssl_stream<beast::tcp_stream>;

template <typename Stream>
class Connection : public std::enable_shared_from_this<Connection<Stream>> {
 public:
  Connection(Stream stream, const HttpHandler& handler, std::atomic<int>& open)
      : stream_(std::move(stream)), handler_(handler), open_(open) {
    ++open_;
  }
  ~Connection() { --open_; }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void start() {
    if constexpr (std::is_same_v<Stream, Tls>) {
      socket().expires_after(kIdle);
      stream_.async_handshake(asio::ssl::stream_base::server,
                              [self = this->shared_from_this()](beast::error_code failed) {
                                if (!failed) self->read();
                              });
    } else {
      read();
    }
  }

 private:
  beast::tcp_stream& socket() { return beast::get_lowest_layer(stream_); }

  void read() {
    parser_.emplace();
    body_until_.reset();
    parser_->header_limit(kMaxHeader);
    parser_->body_limit(kMaxBody);
    socket().expires_after(kIdle);
    http::async_read_header(
        stream_, buffer_, *parser_,
        [self = this->shared_from_this()](beast::error_code failed, std::size_t) { self->on_part(failed); });
  }

  // Headers come at once; a body as fast as its network, so long as something comes.
  void on_part(beast::error_code failed) {
    if (failed || parser_->is_done()) return on_read(failed);
    if (!body_until_) body_until_ = std::chrono::steady_clock::now() + kWholeBody;
    socket().expires_at(std::min(std::chrono::steady_clock::now() + kIdle, *body_until_));
    http::async_read_some(
        stream_, buffer_, *parser_,
        [self = this->shared_from_this()](beast::error_code failed, std::size_t) { self->on_part(failed); });
  }

  void on_read(beast::error_code failed) {
    static const auto& http_errors = http::make_error_code(http::error::bad_target).category();
    if (failed && failed != http::error::end_of_stream && failed.category() == http_errors)
      return refuse(failed);
    if (failed) return close();
    HttpResponse response;
    const std::string id = request_id_from(std::string(parser_->get()["X-Request-Id"]));
    const LogScope scope("request", id);
    try {
      response = handler_(request(id));
    } catch (...) {
      const Error error = current_error();
      response = problem_of(error);
      if (response.status >= 500)
        spdlog::error("HTTP {}: {}", std::string(parser_->get().target()), error.what());
    }
    response.headers.emplace_back("X-Request-Id", id);
    write(std::move(response), parser_->get().keep_alive());
  }

  HttpRequest request(const std::string& id) {
    auto& message = parser_->get();
    const auto header = [&](auto name) { return std::string(message[name]); };
    const auto method = message.method();
    constexpr http::verb kServed[] = {http::verb::get, http::verb::head, http::verb::post, http::verb::put,
                                      http::verb::delete_};
    if (std::find(std::begin(kServed), std::end(kServed), method) == std::end(kServed))
      throw Error(ErrorCode::kUnimplemented, "METHOD_NOT_ALLOWED",
                  std::string(message.method_string()) + " is not served here", "",
                  "GET, HEAD, POST, PUT, DELETE");
    return {std::string(message.method_string()),
            std::string(message.target()),
            header(http::field::host),
            header(http::field::origin),
            header("Sec-Fetch-Site"),
            header(http::field::content_type),
            header(http::field::accept),
            header(http::field::accept_encoding),
            header(http::field::if_none_match),
            header(http::field::range),
            header(http::field::if_range),
            header(http::field::authorization),
            header(http::field::cookie),
            id,
            is_loopback_connection(),
            std::is_same_v<Stream, Tls>,
            std::move(message.body())};
  }

  bool is_loopback_connection() {
    beast::error_code failed;
    const auto peer = socket().socket().remote_endpoint(failed);
    return !failed && is_loopback(peer.address().to_string());
  }

  void refuse(beast::error_code failed) {
    const bool header = failed == http::error::header_limit || failed == http::error::buffer_overflow;
    const bool body = failed == http::error::body_limit;
    const Error error(ErrorCode::kInvalidArgument, header || body ? "REQUEST_TOO_LARGE" : "MALFORMED_REQUEST",
                      header ? "the headers are of more than 16 KiB"
                      : body ? "the body is of more than 3 MiB"
                             : "this is no HTTP request: " + failed.message());
    write(problem(header ? 431 : body ? 413 : 400, error), false);
  }

  void write(HttpResponse response, bool keep) {
    const bool head = parser_ && parser_->is_header_done() && parser_->get().method() == http::verb::head;
    const bool pieces = static_cast<bool>(response.next_piece);
    message_ = {};
    message_.version(11);
    message_.result(static_cast<unsigned>(response.status));
    set_headers(response);
    message_.keep_alive(keep);
    if (response.status != 304) message_.content_length(pieces ? response.length : response.body.size());
    if (!head && !pieces) message_.body() = std::move(response.body);
    socket().expires_after(kIdle);
    http::async_write(
        stream_, message_,
        [self = this->shared_from_this(), keep, next = head ? nullptr : std::move(response.next_piece)](
            beast::error_code failed, std::size_t) {
          if (failed) return self->close();
          if (next) return self->write_pieces(next, keep);
          self->after_write(keep);
        });
  }

  // The server's own headers, and those of the response over them.
  void set_headers(const HttpResponse& response) {
    message_.set(http::field::server, "wring");
    message_.set(http::field::date, http_date());
    message_.set(http::field::cache_control, "no-store");
    message_.set("X-Content-Type-Options", "nosniff");
    message_.set("Referrer-Policy", "no-referrer");
    message_.set("Cross-Origin-Resource-Policy", "same-origin");
    message_.set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox");
    if (response.status != 304) message_.set(http::field::content_type, response.content_type);
    for (const auto& [name, value] : response.headers)
      if (value.find_first_of("\r\n") == std::string::npos) message_.set(name, value);
  }

  void write_pieces(const std::function<std::string()>& next, bool keep) {
    try {
      piece_ = next();
    } catch (...) {
      spdlog::error("HTTP {}: {}", std::string(parser_->get().target()), current_error().what());
      return close();
    }
    if (piece_.empty()) return after_write(keep);
    write_piece(0, next, keep);
  }

  // In parts, so that the idle time counts for each and a slow reader of a large piece is no idle one.
  void write_piece(std::size_t from, const std::function<std::string()>& next, bool keep) {
    if (from == piece_.size()) return write_pieces(next, keep);
    const auto size = std::min(kWritten, piece_.size() - from);
    socket().expires_after(kIdle);
    asio::async_write(stream_, asio::buffer(piece_.data() + from, size),
                      [self = this->shared_from_this(), to = from + size, next, keep](
                          beast::error_code failed, std::size_t) {
                        if (failed) return self->close();
                        self->write_piece(to, next, keep);
                      });
  }

  void after_write(bool keep) {
    if (!keep) return close();
    read();
  }

  void close() {
    beast::error_code ignored;
    socket().socket().shutdown(tcp::socket::shutdown_send, ignored);
  }

  Stream stream_;
  const HttpHandler& handler_;
  std::atomic<int>& open_;
  beast::flat_buffer buffer_{2 * kMaxHeader};
  std::optional<http::request_parser<http::string_body>> parser_;
  std::optional<std::chrono::steady_clock::time_point> body_until_;
  http::response<http::string_body> message_;
  std::string piece_;
};

}  // namespace

struct HttpServer::Impl {
  Impl(HttpHandler h, int m) : handler(std::move(h)), most(m) {}

  void accept() {
    acceptor.async_accept(asio::make_strand(context), [this](beast::error_code failed, tcp::socket socket) {
      if (failed == asio::error::operation_aborted) return;
      if (failed) return accept_later();  // no descriptor is left, most likely
      if (open < most)
        serve(std::move(socket));
      else if (!std::exchange(was_full, true))
        spdlog::warn("HTTP: {} connections are open; further ones are closed", most);
      accept();
    });
  }

  void serve(tcp::socket socket) {
    if (open < most / 2) was_full = false;
    if (tls)
      std::make_shared<Connection<Tls>>(Tls(std::move(socket), *tls), handler, open)->start();
    else
      std::make_shared<Connection<Plain>>(Plain(std::move(socket)), handler, open)->start();
  }

  void accept_later() {
    pause.expires_after(std::chrono::milliseconds(100));
    pause.async_wait([this](beast::error_code stopped) {
      if (!stopped) accept();
    });
  }

  HttpHandler handler;
  const int most;
  std::atomic<int> open = 0;  // connections
  bool was_full = false;      // and the log says so
  std::optional<asio::ssl::context> tls;
  asio::io_context context;
  tcp::acceptor acceptor{context};
  asio::steady_timer pause{context};
  std::vector<std::thread> threads;
};

HttpServer::HttpServer(const std::string& host, std::uint16_t port, HttpHandler handler,
                       const std::optional<TlsFiles>& tls, int connections)
    : impl_(std::make_unique<Impl>(std::move(handler), most_connections(connections))) {
  if (tls) {
    impl_->tls.emplace(asio::ssl::context::tls_server);
    impl_->tls->set_options(asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1);
    impl_->tls->use_certificate_chain(asio::buffer(tls->certificate));
    impl_->tls->use_private_key(asio::buffer(tls->key), asio::ssl::context::pem);
  }
  try {
    const bool bracketed = host.starts_with('[') && host.ends_with(']');
    const tcp::endpoint endpoint(asio::ip::make_address(bracketed ? host.substr(1, host.size() - 2) : host),
                                 port);
    impl_->acceptor.open(endpoint.protocol());
    impl_->acceptor.set_option(asio::socket_base::reuse_address(true));
    impl_->acceptor.bind(endpoint);
    impl_->acceptor.listen();
  } catch (const boost::system::system_error& e) {
    throw Error(ErrorCode::kUnavailable, "ADDRESS_IN_USE",
                "cannot listen on " + host + ":" + std::to_string(port) + ": " + e.code().message(), "http",
                "Choose another port, or 0 for a free one.");
  }
  impl_->accept();
  for (int i = 0; i < kThreads; ++i) impl_->threads.emplace_back([this] { impl_->context.run(); });
}

HttpServer::~HttpServer() {
  impl_->context.stop();
  for (auto& thread : impl_->threads) thread.join();
}

std::uint16_t HttpServer::port() const {
  return impl_->acceptor.local_endpoint().port();
}

}  // namespace wring
