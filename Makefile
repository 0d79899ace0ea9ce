# knowedit. `make deps` installs the packages, `make` builds build/knowedit, `make check`
# runs the tests. Sources are found by wildcard: a new file needs no edit here.
CC      ?= cc
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
CFLAGS  ?= -O2 -g
SAN     ?=
THREADS ?= openmp
WERROR  ?=
VERSION := $(shell sed -n 's/.*KE_VERSION "\(.*\)"/\1/p' include/knowedit/base.h)

WARN    := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
           -Wvla -Wdouble-promotion -Wno-missing-field-initializers
PKGS    := jansson libpcre2-8 libutf8proc libcrypto sqlite3 cairo
PKG_C   := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_L   := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
PKG_V    = $(foreach p,openblas $(PKGS) popt,$(p) $(shell pkg-config --modversion $(p)))
OMP     := $(if $(filter openmp,$(THREADS)),-fopenmp,-fopenmp-simd -pthread)
ALL_C   = -std=c11 -D_GNU_SOURCE -Iinclude -Isrc -fvisibility=hidden -fPIC -MMD -MP \
           -ffp-contract=off $(WARN) $(WERROR) $(OMP) $(PKG_C) $(SAN) $(CFLAGS)
LIBS    := $(PKG_L) -lcsv -lopenblas -lm -lpthread $(OMP) $(SAN) $(LDFLAGS)

comma   := ,
objects  = $(patsubst %,$(BUILD)/%.o,$(basename $(1)))
programs = $(patsubst %.c,$(BUILD)/%,$(wildcard $(1)))
LIB_OBJ := $(call objects,$(filter-out src/cli/% src/serve/%,\
             $(wildcard src/*/*.c src/*/*/*.c src/*/*.S)))
CLI_OBJ := $(call objects,$(wildcard src/cli/*.c))
SUPPORT := $(call objects,$(wildcard tests/support/*.c))
TESTS   := $(call programs,tests/unit/test_*.c tests/kernel/test_*.c tests/grad/test_*.c)
FUZZ    := $(call programs,tests/fuzz/fuzz_*.c)
MODEL_TESTS := $(call programs,tests/oracle/test_*.c)
EXAMPLES    := $(call programs,examples/*.c)
HOUSE   := $(wildcard tools/check_*.sh) # layers, symbols, calls, headers, metrics
CLI_TESTS   := $(call programs,tests/cli/test_*.c)
FAULT_TESTS := $(call programs,tests/faults/test_*.c)
FAULTS      := $(call objects,$(filter-out $(wildcard tests/faults/test_*.c),$(wildcard tests/faults/*.c)))
# For ThreadSanitizer: all but what only takes long under it.
TSAN_TESTS  ?= $(filter-out %_pass_gradients,$(TESTS))

.PHONY: all lib tests deps check check-models check-faults check-valgrind fault-tests asan tsan fuzz fuzz-run headers layers metrics symbols \
        format check-format install uninstall clean
.SECONDARY:
all: $(BUILD)/knowedit lib
lib: $(BUILD)/libknowedit.a $(BUILD)/libknowedit.so
tests: all $(TESTS) $(FUZZ) $(CLI_TESTS) $(FAULT_TESTS) $(EXAMPLES)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_C) $(ISA_C) -c -o $@ $<
$(BUILD)/%.o: %.S
	@mkdir -p $(@D)
	$(CC) $(ALL_C) -c -o $@ $<
# .incbin is unknown to the compiler's dependencies.
$(BUILD)/src/edit/stats_text.o: data/stats-text/wikitext2.txt
$(BUILD)/src/eval/harm_text.o: data/harm-text/harm.txt
$(BUILD)/src/kernels/ref/%.o $(BUILD)/src/kernels/avx2/%.o $(BUILD)/src/kernels/avx512/%.o: CFLAGS += -O3 -fno-math-errno -fno-trapping-math
$(BUILD)/src/kernels/avx2/%.o: ISA_C := -mavx2 -mfma -mf16c
$(BUILD)/src/kernels/avx512/%.o: ISA_C := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c
$(BUILD)/src/cli/cmd_version.o: ISA_C = -DKE_BUILT_WITH='"$(strip $(PKG_V))"'
$(BUILD)/tests/%.o: ISA_C := -Itests
$(BUILD)/tests/fuzz/%.o: ISA_C := -Itests -Wno-missing-prototypes

$(BUILD)/libknowedit.a: $(LIB_OBJ)
	rm -f $@
	$(AR) rcs $@ $^
$(BUILD)/libknowedit.so: $(LIB_OBJ)
	$(CC) -shared -Wl,-soname,libknowedit.so.0 -o $@ $^ $(LIBS)
$(BUILD)/knowedit: $(CLI_OBJ) $(BUILD)/libknowedit.a
	$(CC) -o $@ $^ -lpopt $(LIBS)
$(BUILD)/tests/fuzz/fuzz_token $(BUILD)/fuzz_token: \
    private LIBS += -Wl,--wrap=ke__splitter_new,--wrap=ke__splitter_free
$(FUZZ): %: %.o $(BUILD)/tests/fuzz/replay.o $(BUILD)/libknowedit.a
	$(CC) -o $@ $^ $(LIBS)
# The whole program under another name, its allocator and its system calls wrapped.
WRAPPED := ke__alloc_libc open read write fsync link linkat rename renameat2 mmap fopen mkdir mkdtemp \
           json_loads json_loadb
$(BUILD)/tests/faults/main.o: $(BUILD)/src/cli/main.o
	@mkdir -p $(@D)
	objcopy --redefine-sym main=faulty_main $< $@
$(FAULT_TESTS): %: %.o $(FAULTS) $(BUILD)/tests/faults/main.o $(SUPPORT) \
                $(filter-out %/main.o,$(CLI_OBJ)) $(BUILD)/libknowedit.a
	$(CC) -o $@ $^ $(addprefix -Wl$(comma)--wrap=,$(WRAPPED)) -lpopt -lcmocka $(LIBS)
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(SUPPORT) $(BUILD)/libknowedit.a
	$(CC) -o $@ $^ -lcmocka $(LIBS)
$(BUILD)/examples/%: $(BUILD)/examples/%.o $(BUILD)/libknowedit.a
	$(CC) -o $@ $^ $(LIBS)

deps:
	tools/deps build
# No network, no Python. Sanitized builds leave out HOUSE, which is about the sources.
check: tests
	BUILD=$(BUILD) CC='$(CC)' tests/run $(HOUSE) $(TESTS) $(FUZZ) $(CLI_TESTS) $(FAULT_TESTS)
check-models: all $(MODEL_TESTS)
	KE_MODEL_SMOLLM2=$$(tools/fetch_model smollm2-135m | tail -n 1) \
	  KE_MODEL_QWEN05=$$(tools/fetch_model qwen2.5-coder-0.5b | tail -n 1) \
	  KE_MODEL_GEMMA3=$$(tools/fetch_model gemma3-270m | tail -n 1) BUILD=$(BUILD) \
	  tests/run $(MODEL_TESTS)
asan:
	LSAN_OPTIONS=suppressions=$(CURDIR)/tests/leaks.supp:print_suppressions=0 $(MAKE) BUILD=$(BUILD)-asan CFLAGS='-O1 -g' HOUSE= \
	  SAN='-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer' $(ASAN_GOAL)
ASAN_GOAL ?= check
# Every allocation, call and 200 kills, where `check` takes samples, and as many of a real
# model; then, under the sanitizers, samples again.
check-faults: tests
	FAULT_EVERY=1 FAULT_KILLS=200 BUILD=$(BUILD) tests/run $(FAULT_TESTS)
	FAULT_MODEL=$$(tools/fetch_model smollm2-135m | tail -n 1) FAULT_KILLS=200 \
	  BUILD=$(BUILD) tests/run $(BUILD)/tests/faults/test_kills
	$(MAKE) check-valgrind
	$(MAKE) asan ASAN_GOAL=fault-tests
check-valgrind: all $(BUILD)/tests/tiny_gguf
	tools/deps memory
	BUILD=$(BUILD) tests/valgrind
fault-tests: all $(FAULT_TESTS)
	BUILD=$(BUILD) tests/run $(FAULT_TESTS)
tsan:
	$(MAKE) BUILD=$(BUILD)-tsan CFLAGS='-O1 -g' SAN=-fsanitize=thread THREADS=pthread \
	  HOUSE= FUZZ= EXAMPLES= CLI_TESTS= FAULT_TESTS= TESTS='$(patsubst $(BUILD)/%,$(BUILD)-tsan/%,$(TSAN_TESTS))' check
# Look for new inputs, FUZZ_SECONDS a target or FUZZ_RUNS times.
FUZZ_SECONDS ?= 60
FUZZ_RUNS    ?=
FUZZERS = $(patsubst $(BUILD)/tests/fuzz/%,$(BUILD)/%,$(FUZZ))
fuzz:
	tools/deps build fuzz
	$(MAKE) BUILD=$(BUILD)-fuzz CC=clang CFLAGS='-O2 -g' THREADS=pthread fuzz-run \
	  SAN='-fsanitize=address,undefined -fno-sanitize-recover=all -fsanitize=fuzzer-no-link'
fuzz-run: $(FUZZERS)
	FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZ_RUNS=$(FUZZ_RUNS) tools/fuzz $(FUZZERS)
$(FUZZERS): $(BUILD)/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/libknowedit.a
	$(CC) -fsanitize=fuzzer -o $@ $^ $(LIBS)
headers layers metrics symbols: lib
	BUILD=$(BUILD) CC='$(CC)' tools/check_$@.sh
SOURCES = $(shell find src include tests examples -name '*.[ch]' -o -name '*.inc')
format:
	clang-format -i $(SOURCES)
check-format:
	clang-format --dry-run -Werror $(SOURCES)

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig \
	  $(DESTDIR)$(PREFIX)/include/knowedit
	install $(BUILD)/knowedit $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(BUILD)/libknowedit.a $(DESTDIR)$(PREFIX)/lib
	install $(BUILD)/libknowedit.so $(DESTDIR)$(PREFIX)/lib/libknowedit.so.$(VERSION)
	ln -sf libknowedit.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libknowedit.so.0
	ln -sf libknowedit.so.0 $(DESTDIR)$(PREFIX)/lib/libknowedit.so
	install -m 644 include/knowedit/*.h $(DESTDIR)$(PREFIX)/include/knowedit
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@PKGS@|$(PKGS)|' \
	  knowedit.pc.in >$(DESTDIR)$(PREFIX)/lib/pkgconfig/knowedit.pc
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/knowedit $(DESTDIR)$(PREFIX)/lib/libknowedit.* \
	  $(DESTDIR)$(PREFIX)/lib/pkgconfig/knowedit.pc
	rm -rf $(DESTDIR)$(PREFIX)/include/knowedit
clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-fuzz

-include $(LIB_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(SUPPORT:.o=.d) $(TESTS:=.d) $(MODEL_TESTS:=.d) \
         $(FUZZ:=.d) $(CLI_TESTS:=.d) $(EXAMPLES:=.d) $(FAULT_TESTS:=.d) $(FAULTS:.o=.d)
