#include "study/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* "KEbr" at byte 68 of the file, and the version at byte 60. */
#define APPLICATION_ID 0x4b456272
#define VERSION        1
#define WAIT_MS        60000 /* for a reader in the middle of its visit */

struct ke__store {
    sqlite3 *db;
    char *path;
    int lock; /* our own hold on the file, against a second writer; -1: none */
};

static const char schema[] =
    "CREATE TABLE settings(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    " value TEXT NOT NULL);"
    "CREATE TABLE files(file INTEGER PRIMARY KEY, name TEXT NOT NULL,"
    " sha256 TEXT NOT NULL);"
    "CREATE TABLE cases(file INTEGER, record INTEGER, \"set\" TEXT NOT NULL,"
    " subject TEXT, prompt TEXT, target TEXT, n_skipped INTEGER NOT NULL,"
    " PRIMARY KEY(file, record)) WITHOUT ROWID;"
    "CREATE TABLE bad(file INTEGER, record INTEGER, message TEXT NOT NULL,"
    " PRIMARY KEY(file, record)) WITHOUT ROWID;"
    "CREATE TABLE before(file INTEGER, record INTEGER, body TEXT NOT NULL,"
    " seconds REAL NOT NULL, PRIMARY KEY(file, record));"
    "CREATE TABLE rows(file INTEGER, record INTEGER, method_order INTEGER,"
    " method TEXT NOT NULL, protocol TEXT, \"at\" TEXT, body TEXT NOT NULL, error TEXT,"
    " seconds_edit REAL, seconds_evaluate REAL, peak_bytes INTEGER,"
    " PRIMARY KEY(file, record, method_order, protocol, \"at\"));";

/* --- SQLite and our statuses -------------------------------------------------------- */

static ke_status failed(ke_ctx *cx, const ke__store *s, int code)
{
    code &= 0xff;
    if (code == SQLITE_NOMEM)
        return ke__fail(cx, KE_ENOMEM, s->path, "out of memory: %s", s->path);
    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT)
        return ke__fail(cx, KE_EFORMAT, s->path, "%s: not a sound run file: %s", s->path,
                        sqlite3_errmsg(s->db));
    return ke__fail(cx, KE_EIO, s->path, "%s: %s", s->path,
                    code == SQLITE_BUSY ? "another process is using it"
                                        : sqlite3_errmsg(s->db));
}

static ke_status execute(ke_ctx *cx, ke__store *s, const char *sql)
{
    int code = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? KE_OK : failed(cx, s, code);
}

/* A statement with its parameters: per character of `types` 'i' a size_t, 'r' a double, 't'
 * a text or NULL, borrowed until the statement ends. */
static ke_status prepare(ke_ctx *cx, ke__store *s, sqlite3_stmt **out, const char *sql,
                         const char *types, va_list args)
{
    int code = sqlite3_prepare_v2(s->db, sql, -1, out, NULL);
    for (int i = 1; code == SQLITE_OK && *types; types++, i++)
        if (*types == 'i')
            code = sqlite3_bind_int64(*out, i, (sqlite3_int64)va_arg(args, size_t));
        else if (*types == 'r')
            code = sqlite3_bind_double(*out, i, va_arg(args, double));
        else
            code = sqlite3_bind_text(*out, i, va_arg(args, const char *), -1, NULL);
    return code == SQLITE_OK ? KE_OK : failed(cx, s, code);
}

static ke_status ask(ke_ctx *cx, ke__store *s, sqlite3_stmt **out, const char *sql,
                     const char *types, ...)
{
    va_list args;
    va_start(args, types);
    ke_status st = prepare(cx, s, out, sql, types, args);
    va_end(args);
    return st;
}

static ke_status put(ke_ctx *cx, ke__store *s, const char *sql, const char *types, ...)
{
    sqlite3_stmt *stmt = NULL;
    va_list args;
    va_start(args, types);
    ke_status st = prepare(cx, s, &stmt, sql, types, args);
    va_end(args);
    int code = st == KE_OK ? sqlite3_step(stmt) : SQLITE_DONE;
    if (code != SQLITE_DONE)
        st = failed(cx, s, code);
    sqlite3_finalize(stmt);
    return st;
}

/* The next row: *more says whether there is one. */
static ke_status next(ke_ctx *cx, ke__store *s, sqlite3_stmt *stmt, bool *more)
{
    int code = sqlite3_step(stmt);
    *more = code == SQLITE_ROW;
    return code == SQLITE_ROW || code == SQLITE_DONE ? KE_OK : failed(cx, s, code);
}

static const char *text_at(sqlite3_stmt *stmt, int column)
{
    return (const char *)sqlite3_column_text(stmt, column);
}

static size_t size_at(sqlite3_stmt *stmt, int column)
{
    return (size_t)sqlite3_column_int64(stmt, column);
}

/* The first column of the first row as a text of the caller's, or NULL. Ends `stmt`. */
static ke_status take_text(ke_ctx *cx, ke__store *s, sqlite3_stmt *stmt, char **out)
{
    ke_status st = KE_OK;
    bool more = false;
    *out = NULL;
    KE_TRY(next(cx, s, stmt, &more));
    if (more && text_at(stmt, 0))
        KE_TRY(ke__strdup(cx, out, text_at(stmt, 0)));
done:
    sqlite3_finalize(stmt);
    return st;
}

/* --- opening ------------------------------------------------------------------------ */

static ke_status number_of(ke_ctx *cx, ke__store *s, const char *pragma, size_t *out)
{
    ke_status st = KE_OK;
    sqlite3_stmt *stmt = NULL;
    bool more = false;
    KE_TRY(ask(cx, s, &stmt, pragma, ""));
    KE_TRY(next(cx, s, stmt, &more));
    *out = more ? size_at(stmt, 0) : 0;
done:
    sqlite3_finalize(stmt);
    return st;
}

/* Whether nothing is in it. Asked of SQLite, not of the file's length: a run that was
 * killed while it made its tables left a part of them, which is undone when the file is
 * read. */
static ke_status is_empty(ke_ctx *cx, ke__store *s, bool *out)
{
    size_t pages = 0;
    ke_status st = number_of(cx, s, "PRAGMA page_count", &pages);
    *out = pages == 0;
    return st;
}

static ke_status check_version(ke_ctx *cx, ke__store *s)
{
    ke_status st = KE_OK;
    size_t id = 0, version = 0;
    KE_TRY(number_of(cx, s, "PRAGMA application_id", &id));
    KE_TRY(number_of(cx, s, "PRAGMA user_version", &version));
    if (id != APPLICATION_ID)
        st = ke__fail(cx, KE_EFORMAT, s->path, "%s: an SQLite file, but not of a run",
                      s->path);
    else if (version != VERSION)
        st = ke__fail(cx, KE_EFORMAT, s->path, "%s: version %zu of a run file, expected %d",
                      s->path, version, VERSION);
done:
    return st;
}

/* What SQLite must not touch is KE_EFORMAT; a file that is not there, or empty, is fine. */
static ke_status look(ke_ctx *cx, const char *path)
{
    static const char magic[16] = "SQLite format 3";
    char head[sizeof magic] = {0};
    struct stat info;
    if (stat(path, &info) != 0)
        return errno == ENOENT ? KE_OK
                               : ke__fail(cx, KE_EIO, path, "%s: cannot open: %s", path,
                                          strerror(errno));
    if (S_ISREG(info.st_mode) && info.st_size == 0)
        return KE_OK;
    FILE *f = S_ISREG(info.st_mode) ? fopen(path, "rb") : NULL;
    size_t n = f ? fread(head, 1, sizeof head, f) : 0;
    if (f)
        fclose(f);
    else if (S_ISREG(info.st_mode))
        return ke__fail(cx, KE_EIO, path, "%s: cannot open: %s", path, strerror(errno));
    if (n != sizeof head || memcmp(head, magic, sizeof head) != 0)
        return ke__fail(cx, KE_EFORMAT, path, "%s: not the file of a run", path);
    return KE_OK;
}

static ke_status open_database(ke_ctx *cx, ke__store **out, const char *path, int flags)
{
    ke_status st = KE_OK;
    ke__store *s = NULL;
    *out = NULL;
    KE_TRY(ke__alloc(cx, &s, 1, sizeof *s));
    s->lock = -1;
    *out = s;
    /* SQLite reads more into names that begin with a colon. */
    KE_TRY(ke__format(cx, &s->path, "%s%s", path[0] == ':' ? "./" : "", path));
    int code = sqlite3_open_v2(s->path, &s->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_busy_timeout(s->db, WAIT_MS);
    if (code != SQLITE_OK)
        st = failed(cx, s, code);
done:
    return st;
}

/* SQLite's own locks last as long as a transaction; this one as long as the run, and it
 * leaves readers alone. */
static ke_status hold(ke_ctx *cx, int *lock, const char *path)
{
    *lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*lock < 0)
        return ke__fail(cx, KE_EIO, path, "%s: cannot open for writing: %s", path,
                        strerror(errno));
    if (flock(*lock, LOCK_EX | LOCK_NB) != 0)
        return ke__fail(cx, KE_EIO, path, "%s: another process is writing this run", path);
    return KE_OK;
}

ke_status ke__store_open(ke_ctx *cx, ke__store **out, const char *path)
{
    ke_status st = KE_OK;
    ke__store *s = NULL;
    bool empty = false;
    int lock = -1;

    *out = NULL;
    KE_TRY(look(cx, path));
    KE_TRY(hold(cx, &lock, path));
    KE_TRY(look(cx, path)); /* again: it may have been begun meanwhile */
    st = open_database(cx, &s, path, SQLITE_OPEN_READWRITE);
    if (st != KE_OK)
        goto done;
    s->lock = lock;
    lock = -1;
    KE_TRY(execute(cx, s, "PRAGMA synchronous = FULL"));
    KE_TRY(is_empty(cx, s, &empty));
    if (empty) {
        KE_TRY(ke__store_begin(cx, s));
        KE_TRY(execute(cx, s, schema));
        KE_TRY(
            execute(cx, s, "PRAGMA application_id = 0x4b456272; PRAGMA user_version = 1"));
        KE_TRY(ke__store_commit(cx, s));
    }
    KE_TRY(check_version(cx, s));
    *out = s;
    s = NULL;
done:
    ke__store_close(cx, s);
    if (lock >= 0)
        close(lock);
    if (st == KE_EFORMAT) {
        char reason[256];
        snprintf(reason, sizeof reason, "%s", ke_ctx_message(cx));
        st = ke__fail(cx, KE_EEXIST, path, "%s; it is left as it is", reason);
    }
    return st;
}

ke_status ke__store_read(ke_ctx *cx, ke__store **out, const char *path)
{
    ke_status st = KE_OK;
    ke__store *s = NULL;
    bool empty = false;

    *out = NULL;
    if (access(path, F_OK) != 0)
        return ke__fail(cx, KE_ENOENT, path, "%s: %s", path, strerror(errno));
    KE_TRY(look(cx, path));
    /* For writing where that is allowed: the end of a killed run's journal is undone. */
    KE_TRY(open_database(cx, &s, path, SQLITE_OPEN_READWRITE));
    KE_TRY(is_empty(cx, s, &empty));
    if (empty) {
        st = ke__fail(cx, KE_EFORMAT, path, "%s: empty, no run has begun there", path);
        goto done;
    }
    KE_TRY(check_version(cx, s));
    *out = s;
    s = NULL;
done:
    ke__store_close(cx, s);
    return st;
}

void ke__store_close(ke_ctx *cx, ke__store *s)
{
    if (!s)
        return;
    sqlite3_close(s->db);
    if (s->lock >= 0)
        close(s->lock);
    ke__free(cx, s->path);
    ke__free(cx, s);
}

/* --- reading ------------------------------------------------------------------------ */

ke_status ke__store_settings(ke_ctx *cx, ke__store *s, ke__store_setting_fn *visit,
                             void *payload)
{
    ke_status st = KE_OK;
    sqlite3_stmt *stmt = NULL;
    bool more = true;
    KE_TRY(ask(cx, s, &stmt, "SELECT name, value FROM settings ORDER BY id", ""));
    for (;;) {
        KE_TRY(next(cx, s, stmt, &more));
        if (!more)
            break;
        KE_TRY(visit(cx, text_at(stmt, 0), text_at(stmt, 1), payload));
    }
done:
    sqlite3_finalize(stmt);
    return st;
}

ke_status ke__store_setting(ke_ctx *cx, ke__store *s, const char *name, char **value)
{
    sqlite3_stmt *stmt = NULL;
    *value = NULL;
    ke_status st =
        ask(cx, s, &stmt, "SELECT value FROM settings WHERE name = ?", "t", name);
    if (st != KE_OK) {
        sqlite3_finalize(stmt);
        return st;
    }
    return take_text(cx, s, stmt, value);
}

ke_status ke__store_cases(ke_ctx *cx, ke__store *s, ke__store_case_fn *visit, void *payload)
{
    ke_status st = KE_OK;
    sqlite3_stmt *stmt = NULL;
    bool more = true;
    KE_TRY(ask(cx, s, &stmt,
               "SELECT file, record, name, \"set\", subject, prompt, target, n_skipped"
               " FROM cases JOIN files USING(file) ORDER BY file, record",
               ""));
    for (;;) {
        KE_TRY(next(cx, s, stmt, &more));
        if (!more)
            break;
        const ke__store_case c = {.file = size_at(stmt, 0),
                                  .index = size_at(stmt, 1),
                                  .file_name = text_at(stmt, 2),
                                  .set = text_at(stmt, 3),
                                  .subject = text_at(stmt, 4),
                                  .prompt = text_at(stmt, 5),
                                  .target = text_at(stmt, 6),
                                  .n_skipped = size_at(stmt, 7)};
        KE_TRY(visit(cx, &c, payload));
    }
done:
    sqlite3_finalize(stmt);
    return st;
}

ke_status ke__store_rows(ke_ctx *cx, ke__store *s, ke__store_row_fn *visit, void *payload)
{
    ke_status st = KE_OK;
    sqlite3_stmt *stmt = NULL;
    bool more = true;
    KE_TRY(ask(cx, s, &stmt,
               "SELECT file, record, method_order, name, \"set\", method, protocol, \"at\","
               " body, error, seconds_edit, seconds_evaluate, peak_bytes"
               " FROM rows JOIN files USING(file) JOIN cases USING(file, record)"
               " ORDER BY file, record, method_order, protocol, \"at\"",
               ""));
    for (;;) {
        KE_TRY(next(cx, s, stmt, &more));
        if (!more)
            break;
        const ke__store_row row = {.file = size_at(stmt, 0),
                                   .index = size_at(stmt, 1),
                                   .method_order = size_at(stmt, 2),
                                   .file_name = text_at(stmt, 3),
                                   .set = text_at(stmt, 4),
                                   .method = text_at(stmt, 5),
                                   .protocol = text_at(stmt, 6),
                                   .at = text_at(stmt, 7),
                                   .body = text_at(stmt, 8),
                                   .error = text_at(stmt, 9),
                                   .seconds_edit = sqlite3_column_double(stmt, 10),
                                   .seconds_evaluate = sqlite3_column_double(stmt, 11),
                                   .peak_bytes = size_at(stmt, 12)};
        KE_TRY(visit(cx, &row, payload));
    }
done:
    sqlite3_finalize(stmt);
    return st;
}

ke_status ke__store_bad(ke_ctx *cx, ke__store *s, ke__store_bad_fn *visit, void *payload)
{
    ke_status st = KE_OK;
    sqlite3_stmt *stmt = NULL;
    bool more = true;
    KE_TRY(ask(cx, s, &stmt,
               "SELECT name, record, message FROM bad JOIN files USING(file)"
               " ORDER BY file, record",
               ""));
    for (;;) {
        KE_TRY(next(cx, s, stmt, &more));
        if (!more)
            break;
        KE_TRY(visit(cx, text_at(stmt, 0), size_at(stmt, 1), text_at(stmt, 2), payload));
    }
done:
    sqlite3_finalize(stmt);
    return st;
}

ke_status ke__store_file(ke_ctx *cx, ke__store *s, size_t file, char **name)
{
    sqlite3_stmt *stmt = NULL;
    *name = NULL;
    ke_status st = ask(cx, s, &stmt, "SELECT name FROM files WHERE file = ?", "i", file);
    if (st != KE_OK) {
        sqlite3_finalize(stmt);
        return st;
    }
    return take_text(cx, s, stmt, name);
}

ke_status ke__store_before(ke_ctx *cx, ke__store *s, size_t file, size_t index, char **body,
                           double *seconds)
{
    ke_status st = KE_OK;
    sqlite3_stmt *stmt = NULL;
    bool more = false;
    *body = NULL;
    *seconds = 0.0;
    KE_TRY(ask(cx, s, &stmt,
               "SELECT body, seconds FROM before WHERE file = ? AND record = ?", "ii", file,
               index));
    KE_TRY(next(cx, s, stmt, &more));
    if (more && text_at(stmt, 0))
        KE_TRY(ke__strdup(cx, body, text_at(stmt, 0)));
    *seconds = more ? sqlite3_column_double(stmt, 1) : 0.0;
done:
    sqlite3_finalize(stmt);
    return st;
}

ke_status ke__store_count(ke_ctx *cx, ke__store *s, size_t file, size_t index,
                          const char *method, const char *at, size_t *n)
{
    ke_status st = KE_OK;
    sqlite3_stmt *stmt = NULL;
    bool more = false;
    KE_TRY(ask(cx, s, &stmt,
               "SELECT count(*) FROM rows"
               " WHERE file = ? AND record = ? AND method = ? AND \"at\" = ?",
               "iitt", file, index, method, at));
    KE_TRY(next(cx, s, stmt, &more));
    *n = more ? size_at(stmt, 0) : 0;
done:
    sqlite3_finalize(stmt);
    return st;
}

/* --- writing ------------------------------------------------------------------------ */

ke_status ke__store_begin(ke_ctx *cx, ke__store *s)
{
    return execute(cx, s, "BEGIN IMMEDIATE");
}

ke_status ke__store_commit(ke_ctx *cx, ke__store *s)
{
    return execute(cx, s, "COMMIT");
}

ke_status ke__store_put_setting(ke_ctx *cx, ke__store *s, const char *name,
                                const char *value)
{
    return put(cx, s, "INSERT INTO settings(name, value) VALUES(?, ?)", "tt", name, value);
}

ke_status ke__store_put_file(ke_ctx *cx, ke__store *s, size_t file, const char *name,
                             const char *sha256)
{
    return put(cx, s, "INSERT INTO files VALUES(?, ?, ?)", "itt", file, name, sha256);
}

ke_status ke__store_put_case(ke_ctx *cx, ke__store *s, const ke__store_case *c)
{
    return put(cx, s, "INSERT INTO cases VALUES(?, ?, ?, ?, ?, ?, ?)", "iitttti", c->file,
               c->index, c->set, c->subject, c->prompt, c->target, c->n_skipped);
}

ke_status ke__store_put_bad(ke_ctx *cx, ke__store *s, size_t file, size_t index,
                            const char *message)
{
    return put(cx, s, "INSERT INTO bad VALUES(?, ?, ?)", "iit", file, index, message);
}

ke_status ke__store_put_before(ke_ctx *cx, ke__store *s, size_t file, size_t index,
                               const char *body, double seconds)
{
    return put(cx, s, "INSERT INTO before VALUES(?, ?, ?, ?)", "iitr", file, index, body,
               seconds);
}

ke_status ke__store_put_row(ke_ctx *cx, ke__store *s, const ke__store_row *r)
{
    return put(cx, s, "INSERT INTO rows VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
               "iiitttttrri", r->file, r->index, r->method_order, r->method, r->protocol,
               r->at, r->body, r->error, r->seconds_edit, r->seconds_evaluate,
               (size_t)r->peak_bytes);
}
