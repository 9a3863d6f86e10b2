"""Writes the Parquet files that the tests read, as other programs write them.

    pip install pandas pyarrow duckdb
    python generate.py

Those in this folder hold the same five rows; reading one must give what usage.csv
gives. Those in refused/ are not read.
"""

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

frame = pd.read_csv("usage.csv")
times = pd.to_datetime(frame["time"], utc=True)

# pandas as most people use it.
usual = frame.assign(time=times)
usual.to_parquet("pandas.parquet")
# Times as text, without the index.
frame.to_parquet("text_times.parquet", index=False)
# Times without a zone, in nanoseconds.
frame.assign(time=times.dt.tz_localize(None)).to_parquet("naive.parquet", index=False)
# Timestamps of old Spark and Impala.
pq.write_table(pa.Table.from_pandas(usual, preserve_index=False), "int96.parquet", use_deprecated_int96_timestamps=True)
# Data pages of the second version, other encodings, another compression.
pq.write_table(
    pa.Table.from_pandas(usual, preserve_index=False),
    "pages_v2.parquet",
    data_page_version="2.0",
    use_dictionary=False,
    column_encoding={"component": "DELTA_BYTE_ARRAY", "service": "DELTA_LENGTH_BYTE_ARRAY", "time": "DELTA_BINARY_PACKED"},
    compression="zstd",
)
# Numbers of other types, several row groups, columns that cannot be null.
table = pa.table(
    {
        "time": pa.array(times.dt.as_unit("ms"), pa.timestamp("ms", "UTC")),
        "service": frame["service"],
        "component": frame["component"],
        "cpu": pa.array(frame["cpu"], pa.float32()),
        "memory": pa.array(frame["memory"].astype("Int64"), pa.int64()),
        "replicas": pa.array(frame["replicas"].astype("Int32"), pa.int32()),
        "cpu_request": pa.array(frame["cpu_request"].map(lambda v: None if pd.isna(v) else f"{v:.3f}"), pa.string()).cast(pa.decimal128(9, 3)),
        "memory_request": pa.array(frame["memory_request"].astype("Int64"), pa.uint32()),
    }
)
fields = [f.with_nullable(f.name not in ("time", "service", "component")) for f in table.schema]
pq.write_table(table.cast(pa.schema(fields)), "types.parquet", row_group_size=2, compression="gzip", store_decimal_as_integer=True)

con = duckdb.connect()
con.execute("SET TimeZone='UTC'")
con.execute("CREATE TABLE usage AS SELECT * FROM read_csv('usage.csv')")
con.execute("COPY usage TO 'duckdb.parquet' (FORMAT parquet)")


def broken(name, **columns):
    """Writes a file whose columns differ from usage.csv's in the given way."""
    arrays = pa.Table.from_pandas(usual, preserve_index=False)
    for column, values in columns.items():
        at = arrays.schema.get_field_index(column)
        arrays = arrays.set_column(at, column, values)
    pq.write_table(arrays, f"refused/{name}.parquet")


broken("nan", cpu=pa.array([0.75, float("nan"), None, 0.0, 1.0], from_pandas=False))
broken("infinite", memory=pa.array([1.0, 1.0, 1.0, float("inf"), 1.0]))
broken("negative", replicas=pa.array([3, -1, 3, 1, 4]))
broken("text_number", cpu=pa.array(["1", "2", "3", "4", "5"]))
broken("null_time", time=pa.array([None] * 5, pa.timestamp("us", "UTC")))
broken("seconds", time=pa.array([1709942407] * 5, pa.timestamp("s", "UTC")))
broken("null_name", component=pa.array(["cart", None, "cart", "db", "cart"]))
broken("nested", cpu=pa.array([[1.0], [2.0], [3.0], [4.0], [5.0]]))
# An encoding that the reader does not know: it must say so.
con.execute("COPY usage TO 'refused/duckdb_v2.parquet' (FORMAT parquet, PARQUET_VERSION v2)")
